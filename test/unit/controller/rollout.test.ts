import { assignWaves } from '@espalier/controller/rollout/assign-waves'
import { orderOf } from '@espalier/controller/rollout/decide-rollout'
import { type Comparison, rolloutSpecSchema, slotKey } from '@espalier/controller/rollout/rollout'
import { describe, expect, test } from 'vitest'
import { makeCandidate, NEW, OLD, SimulatedRollout } from './rollout-fixtures.ts'

const worse: Comparison = {
  metric: 'latencyP95',
  method: 'mann-whitney',
  newDevices: 50,
  oldDevices: 950,
  changePct: 31,
  tolerancePct: 15,
  pValue: 1e-6,
  isRegression: true,
}

describe('waves', () => {
  const spec = { wavesPct: [5, 25, 50, 100], canaries: undefined }

  test('are as large as stated, the same each time, and others in another rollout', () => {
    const devices = Array.from({ length: 1000 }, (_, i) => makeCandidate(i))
    const waves = assignWaves('toy-1', spec, devices)
    const sizes = [0, 1, 2, 3].map((wave) => [...waves.values()].filter((each) => each === wave).length)
    expect(sizes).toEqual([50, 200, 250, 500])
    expect(assignWaves('toy-1', spec, devices.toReversed())).toEqual(waves)
    const other = assignWaves('toy-2', spec, devices)
    const both = devices.filter(({ device }) => waves.get(device) === 0 && other.get(device) === 0)
    expect(both.length).toBeLessThan(15)
  })

  test('begin with canaries of every site and class, in contact where possible, or with those that were named', () => {
    // One site has nearly all devices, and most of a class are away.
    const devices = Array.from({ length: 200 }, (_, i) =>
      makeCandidate(i, {
        site: i < 190 ? 'large' : `small-${i}`,
        deviceClass: i % 2 === 0 ? 'pi' : 'orin',
        isConnected: i % 2 === 0 || i > 185,
      }),
    )
    const first = devices.filter(
      ({ device }) => assignWaves('toy-1', { ...spec, wavesPct: [8, 100] }, devices).get(device) === 0,
    )
    expect(first).toHaveLength(16)
    expect(new Set(first.map(({ site }) => site)).size).toBe(11)
    expect(first.every(({ isConnected }) => isConnected)).toBe(true)
    const named = assignWaves('toy-1', { ...spec, canaries: 'device in (cam-3,cam-5)' }, devices.slice(0, 40))
    expect(['cam-3', 'cam-5'].map((device) => named.get(device as never))).toEqual([0, 0])
  })

  test('keep the slots of one device together', () => {
    const slots = [0, 1, 2].flatMap((i) => ['cam0', 'cam1'].map((slot) => makeCandidate(i, { slot: slot as never })))
    expect(assignWaves('toy-1', spec, slots).size).toBe(3)
  })
})

describe('a rollout', () => {
  test('brings 1,000 devices to a version in four waves, each judged after it was watched', () => {
    const fleet = new SimulatedRollout(1000)
    fleet.runUntil(({ wave }) => wave === 0)
    expect(fleet.in('ordered', 'updating').length).toBe(50)
    fleet.runUntil(({ state }) => state === 'done')
    expect(fleet.rollout).toMatchObject({ state: 'done', wave: 3 })
    expect(fleet.actions).toEqual(['wave 1', 'wave 2', 'wave 3', 'wave 4', 'finish'])
    expect([...fleet.devices.values()].every(({ version }) => version === NEW)).toBe(true)
    for (const { soakFromMs, judgedMs } of fleet.rollout.waves)
      expect(judgedMs! - soakFromMs!).toBeGreaterThanOrEqual(10_000)
    // Each member is written when something of it changed: it comes, is ordered, fetches, tries, commits, or is held.
    expect(fleet.writes / 1000).toBeLessThan(8)
  })

  test('stops by itself when too many fail, says which and why, and tells the others to stay as they are', () => {
    const fleet = new SimulatedRollout(100, { errorBudgetShare: 0.03, successShare: 0 })
    fleet.runUntil(({ wave }) => wave === 1)
    const second = [...fleet.members.values()].filter(({ wave }) => wave === 1)
    for (const member of second.slice(0, 4)) fleet.fates.set(slotKey(member), 'rolled-back')
    fleet.fates.set(slotKey(second[4]!), 'stuck')
    fleet.runUntil(({ state }) => state === 'stopped')
    expect(fleet.rollout.reason).toMatch(
      /^4 of 100 failed, the error budget is 3: cam-\d+\/cam0 \(rolled back: latency p95/,
    )
    expect(fleet.in('withdrawn').map(slotKey)).toEqual([slotKey(second[4]!)])
    expect(fleet.in('withdrawn').map((member) => orderOf(fleet.rollout, member))).toEqual([OLD])
    expect(fleet.in('waiting')).toHaveLength(75)
    fleet.run(60)
    expect(fleet.in('waiting')).toHaveLength(75)
    expect(fleet.rollout.waves[1]).toMatchObject({ state: 'failed' })
  })

  test('stops in a wave in which too small a share succeeds', () => {
    const fleet = new SimulatedRollout(100, { errorBudgetShare: 1, successShare: 0.9 })
    fleet.runUntil(({ wave }) => wave === 0)
    fleet.fates.set(slotKey(fleet.in('ordered', 'updating')[0]!), 'rolled-back')
    fleet.runUntil(({ state }) => state === 'stopped')
    expect(fleet.rollout.reason).toMatch(/^1 of 5 failed in wave 1, at most 0 may/)
  })

  test('stops on a regression with the evidence, and takes all back where it was told to', () => {
    const fleet = new SimulatedRollout(1000, { onStop: 'roll-back' })
    fleet.runUntil(({ wave }) => wave === 1)
    fleet.comparisons = [worse]
    fleet.runUntil(({ state }) => state === 'rolling-back')
    expect(fleet.rollout.reason).toContain(
      'regression in wave 2: latencyP95 31.0 % worse, 15 % may be (50 new against 950',
    )
    expect(fleet.rollout.waves[1]!.comparisons).toEqual([worse])
    fleet.runUntil(({ state }) => state === 'rolled-back')
    expect(fleet.rollout.state).toBe('rolled-back')
    expect([...fleet.devices.values()].every(({ version }) => version === OLD)).toBe(true)
    expect(fleet.in('returned')).toHaveLength(250)
  })

  test('waits for nobody who is away, gives it to them when they come back, and to those who join when all is done', () => {
    const fleet = new SimulatedRollout(40)
    for (const i of [3, 7, 11]) fleet.device(i).isConnected = false
    fleet.runUntil(({ state }) => state === 'done')
    expect(fleet.rollout.state).toBe('done')
    expect(
      fleet
        .in('held')
        .map(({ device }) => device)
        .sort(),
    ).toEqual(['cam-11', 'cam-3', 'cam-7'])
    expect(new Set(fleet.in('held').map(({ reason }) => reason))).toEqual(new Set(['not connected']))
    fleet.device(7).isConnected = true
    const late = makeCandidate(40)
    fleet.devices.set(slotKey(late), late)
    fleet.run(10)
    expect(fleet.device(7).version).toBe(NEW)
    expect(late.version).toBe(NEW)
    expect(fleet.rollout.state).toBe('done')
  })

  test('orders nothing while it is paused, and waits for approval between waves where that was asked', () => {
    const fleet = new SimulatedRollout(100, { needsApproval: true })
    fleet.runUntil(({ state }) => state === 'paused')
    expect(fleet.rollout).toMatchObject({ wave: 0, reason: 'wave 1 passed; the next waits for approval' })
    fleet.run(100)
    expect(fleet.in('succeeded')).toHaveLength(5)
    fleet.act('resume')
    fleet.run(2)
    expect(fleet.in('ordered', 'updating').length).toBe(20)
    fleet.act('pause')
    fleet.runUntil(() => false, 60)
    expect(fleet.in('succeeded')).toHaveLength(25)
    expect(fleet.rollout).toMatchObject({ state: 'paused', wave: 1 })
    fleet.act('resume')
    fleet.runUntil(({ state }) => state === 'paused')
    expect(fleet.rollout.reason).toBe('wave 2 passed; the next waits for approval')
  })

  test('orders only in its hours, by the time of each site, and nobody on a metered link', () => {
    const fleet = new SimulatedRollout(60, {
      hours: { from: '22:00', to: '05:00' },
      unmeteredOnly: true,
      wavesPct: [100],
    })
    // Noon in UTC: night in Auckland, and in one hour not in Tokyo.
    for (const device of fleet.devices.values())
      device.timeZone = device.site === 'site-0' ? 'Pacific/Auckland' : 'Asia/Tokyo'
    fleet.device(0).isMetered = true
    fleet.run(20)
    expect(new Set(fleet.in('succeeded').map(({ device }) => Number(device.slice(4)) % 7))).toEqual(new Set([0]))
    expect(fleet.in('succeeded')).toHaveLength(8)
    expect(fleet.members.get(slotKey(fleet.device(0)))).toMatchObject({ state: 'held', reason: 'on a metered link' })
    expect(fleet.rollout.reason).toMatch(/^wave 1, 52 held: .*cam-\d+\/cam0 \(outside 22:00 to 05:00\)/)
    fleet.nowMs = Date.parse('2026-11-29T13:00:00Z')
    fleet.runUntil(({ state }) => state === 'done')
    expect(fleet.in('succeeded')).toHaveLength(59)
  })

  test('takes a device that does not move for failed, but neither a slow link nor one that is away', () => {
    const fleet = new SimulatedRollout(3, { wavesPct: [100], stuckS: 60, errorBudgetShare: 1, successShare: 0 })
    for (const i of [0, 1, 2]) fleet.fates.set(slotKey(fleet.device(i)), 'stuck')
    fleet.run(5)
    for (let second = 0; second < 120; second++) {
      const slow = fleet.device(1)
      slow.update = { ...slow.update!, fetchedBytes: slow.update!.fetchedBytes + 0.1 }
      fleet.device(2).isConnected = false
      fleet.run(1)
    }
    const state = (i: number) => fleet.members.get(slotKey(fleet.device(i)))
    expect(state(0)).toMatchObject({
      state: 'failed',
      reason: expect.stringMatching(/^stuck: stays at "fetch" for 6\d s$/),
    })
    expect(state(1)!.state).toBe('updating')
    expect(state(2)!.state).toBe('updating')
    fleet.device(2).isConnected = true
    fleet.run(30)
    expect(state(2)!.state).toBe('updating')
    fleet.run(60)
    expect(state(2)!.state).toBe('failed')
  })

  test('believes what a device reports now: one that lost the version is given it again', () => {
    const fleet = new SimulatedRollout(10)
    fleet.runUntil(({ state }) => state === 'done')
    fleet.device(4).version = OLD
    fleet.device(4).update = undefined
    fleet.run(1)
    expect(fleet.in('succeeded')).toHaveLength(9)
    fleet.run(10)
    expect(fleet.device(4).version).toBe(NEW)
  })

  test('does not count what a device did with the version before it was ordered', () => {
    const fleet = new SimulatedRollout(1, { wavesPct: [100] })
    const device = fleet.device(0)
    device.update = { state: 'rolled-back', manifestDigest: NEW, attempt: 3, neededBytes: 1, fetchedBytes: 1 }
    fleet.run(3)
    expect([...fleet.members.values()][0]).toMatchObject({ state: 'ordered', attemptsBefore: 3 })
    device.update = { ...device.update, attempt: 4 }
    fleet.run(1)
    expect([...fleet.members.values()][0]).toMatchObject({ state: 'failed' })
  })

  test('lets so many update at one time, and no more', () => {
    const fleet = new SimulatedRollout(100, { wavesPct: [100], maxUpdating: 7 })
    let most = 0
    for (let second = 0; second < 200 && fleet.rollout.state === 'running'; second++) {
      fleet.run(1)
      most = Math.max(most, fleet.in('ordered', 'updating').length)
    }
    expect(most).toBe(7)
    expect(fleet.rollout.state).toBe('done')
  })

  test('rolls back by hand to what each device had, and goes on doing so for those that are away', () => {
    const fleet = new SimulatedRollout(20)
    const other = 'c'.repeat(64) as typeof OLD
    fleet.device(1).version = other
    fleet.runUntil(({ state }) => state === 'done')
    fleet.device(2).isConnected = false
    fleet.act('roll-back')
    fleet.runUntil(({ state }) => state === 'rolled-back')
    expect(fleet.device(1).version).toBe(other)
    expect(fleet.device(0).version).toBe(OLD)
    expect(fleet.rollout.reason).toContain('1 out of contact')
    fleet.device(2).isConnected = true
    fleet.run(10)
    expect(fleet.device(2).version).toBe(OLD)
    expect(fleet.in('returned')).toHaveLength(20)
  })

  test('watches a wave for longer where too little was measured, and for twice as long at most', () => {
    const fleet = new SimulatedRollout(10, { wavesPct: [10, 100] })
    fleet.isMeasured = false
    fleet.runUntil(({ waves }) => waves[0]!.state === 'soaking').run(12)
    expect(fleet.rollout.reason).toBe('wave 1 is watched on: too few frames were counted yet')
    fleet.run(10)
    expect(fleet.rollout.wave).toBe(1)
  })

  test('says what it waits for, always', () => {
    const fleet = new SimulatedRollout(0)
    fleet.run(1)
    expect(fleet.rollout.reason).toBe('no device needs it yet')
    const away = makeCandidate(1, { isConnected: false })
    fleet.devices.set(slotKey(away), away)
    fleet.run(1)
    expect(fleet.rollout.reason).toBe('wave 1, 1 held: cam-1/cam0 (not connected)')
  })
})

test('a specification says what is wrong with it', () => {
  const parse = (rest: object) => rolloutSpecSchema.safeParse({ family: 'toy', manifestDigest: NEW, ...rest })
  expect(parse({}).success).toBe(true)
  for (const wrong of [
    { wavesPct: [50, 25, 100] },
    { wavesPct: [5, 50] },
    { selector: 'a b' },
    { canaries: '=' },
    { soak: 1 },
  ])
    expect(parse(wrong).success).toBe(false)
})
