import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CapsuleKeeper } from '@espalier/agent/autonomy/capsule-keeper'
import { Contact } from '@espalier/agent/autonomy/contact'
import { batteryHeadroom, readHeadroom, thermalHeadroom } from '@espalier/agent/autonomy/read-headroom'
import { Steering } from '@espalier/agent/autonomy/steering'
import type { Plan } from '@espalier/agent/governor/governor'
import type { SystemFiles } from '@espalier/agent/sensors/system-files'
import type { TimeMark } from '@espalier/agent/time/time-mark'
import type { Configuration } from '@espalier/shared/configuration'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import type { Capsule } from '@espalier/shared/messages/capsule'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import { makePrivateKey, parsePrivateKey, publicKeyText } from '@espalier/shared/signature/keys'
import { signDocument } from '@espalier/shared/signature/signed-document'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { makeConfiguration } from '../make-configuration.ts'

const DEVICE = deviceIdSchema.parse('cam-1')
const SLOT = slotIdSchema.parse('cam0')
const key = parsePrivateKey(makePrivateKey(), 'test')
const stranger = parsePrivateKey(makePrivateKey(), 'stranger')

const configurationOf = (alpha255: number): Configuration => makeConfiguration({ alpha255, width: 256, height: 144 })
const rung = (alpha255: number, rateBps: number) => ({
  configuration: configurationOf(alpha255),
  rateBps,
  powerW: 1,
  utility: rateBps,
})

const capsuleOf = (changes: Partial<Capsule> = {}): Capsule => ({
  format: 'espalier-capsule/1',
  device: DEVICE,
  gen: 5,
  issuedMs: 1000,
  validS: 3600,
  slots: [
    {
      slot: SLOT,
      ladder: [rung(0, 400), rung(128, 200), rung(255, 100)],
      lease: { rateBps: 250 },
      prices: { lambda: 0, mu: 0 },
    },
  ],
  ...changes,
})

let folder: string
let now: TimeMark
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autonomy-'))
  now = { machineBoot: 'one', uptimeMs: 50_000, wallMs: 2_000_000_000_000, clk: 'none' }
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function openKeeper(controllerKey?: string): { keeper: CapsuleKeeper; damage: string[] } {
  const damage: string[] = []
  const onDamage = ({ message }: Error): void => void damage.push(message)
  return {
    keeper: new CapsuleKeeper({ device: DEVICE, dataDir: folder, controllerKey, mark: () => now, onDamage }),
    damage,
  }
}

const live = { isRetained: false }

describe('CapsuleKeeper', () => {
  test('trusts the first key, then no other, over a restart', () => {
    expect(openKeeper().keeper.offer(signDocument(capsuleOf(), key), live)).toBe('first')
    const { keeper } = openKeeper()
    expect(keeper.trustedKey).toBe(publicKeyText(key))
    expect(() => keeper.offer(signDocument(capsuleOf({ gen: 9 }), stranger), live)).toThrow(/found key/)
    expect(keeper.capsule?.gen).toBe(5)
  })

  test('takes a configured key only, from the first capsule on', () => {
    const { keeper } = openKeeper(publicKeyText(key))
    expect(() => keeper.offer(signDocument(capsuleOf(), stranger), live)).toThrow(/found key/)
    expect(keeper.offer(signDocument(capsuleOf(), key), live)).toBe('taken')
  })

  test('refuses what is unsigned, altered, older or for another device, with the reason, and keeps the last good one', () => {
    const { keeper } = openKeeper()
    keeper.offer(signDocument(capsuleOf(), key), live)
    const altered = { ...signDocument(capsuleOf(), key), document: capsuleOf({ gen: 99 }) }
    const refused: [unknown, RegExp][] = [
      [{ document: capsuleOf({ gen: 6 }) }, /no signature/],
      [altered, /the signature is not that/],
      [signDocument(capsuleOf({ gen: 4 }), key), /expected none before/],
      [signDocument(capsuleOf({ issuedMs: 999 }), key), /expected none before/],
      [signDocument({ ...capsuleOf({ gen: 6 }), device: 'cam-2' }, key), /found device "cam-2"/],
      [signDocument({ ...capsuleOf({ gen: 6 }), format: 'espalier-family/1' }, key), /Cannot read capsule/],
    ]
    for (const [message, reason] of refused) expect(() => keeper.offer(message, live)).toThrow(reason)
    expect(keeper.capsule).toEqual(capsuleOf())
  })

  test('knows its age over a restart of the agent, but not over one of a machine without a clock', () => {
    openKeeper().keeper.offer(signDocument(capsuleOf(), key), live)
    now = { ...now, uptimeMs: 80_000 }
    expect(openKeeper().keeper.ageS).toBe(30)
    now = { ...now, machineBoot: 'two', uptimeMs: 1000 }
    expect(openKeeper().keeper.ageS).toBeUndefined()
  })

  test('knows its age over a reboot where the clock runs on, and a clock that was set back says nothing', () => {
    now = { ...now, clk: 'rtc' }
    openKeeper().keeper.offer(signDocument(capsuleOf(), key), live)
    now = { ...now, machineBoot: 'two', uptimeMs: 0, wallMs: now.wallMs + 90_000 }
    expect(openKeeper().keeper.ageS).toBe(90)
    now = { ...now, wallMs: now.wallMs - 200_000 }
    expect(openKeeper().keeper.ageS).toBeUndefined()
  })

  test('takes no renewal from what a broker kept, unless date and clock say how long', () => {
    const { keeper } = openKeeper()
    keeper.offer(signDocument(capsuleOf({ issuedMs: now.wallMs - 20_000 }), key), { isRetained: true })
    expect(keeper.ageS).toBeUndefined()
    rmSync(join(folder, 'capsule.json'))
    now = { ...now, clk: 'ntp' }
    const other = openKeeper().keeper
    other.offer(signDocument(capsuleOf({ issuedMs: now.wallMs - 20_000 }), key), { isRetained: true })
    expect(other.ageS).toBe(20)
  })

  test('stays fresh while the controller is there, with few writes', () => {
    const { keeper } = openKeeper()
    keeper.offer(signDocument(capsuleOf(), key), live)
    const written = () => readFileSync(join(folder, 'capsule.json'), 'utf8')
    const before = written()
    now = { ...now, uptimeMs: now.uptimeMs + 600_000 }
    keeper.renew()
    expect(keeper.ageS).toBe(0)
    expect(written()).toBe(before)
    now = { ...now, uptimeMs: now.uptimeMs + 600_000 }
    keeper.renew()
    expect(written()).not.toBe(before)
  })

  test('starts without a capsule when its file was altered, and says so', () => {
    openKeeper().keeper.offer(signDocument(capsuleOf(), key), live)
    const path = join(folder, 'capsule.json')
    writeFileSync(path, readFileSync(path, 'utf8').replace('"gen":5', '"gen":6'))
    const { keeper, damage } = openKeeper()
    expect(keeper.capsule).toBeUndefined()
    expect(damage[0]).toMatch(/the signature is not that/)
  })
})

test('Contact is alone at once when the controller says goodbye, and ten seconds after the broker is lost', () => {
  const contact = new Contact(0)
  expect([contact.isAlone(9_999), contact.isAlone(10_000)]).toEqual([false, true])
  contact.noteLink(true, 11_000)
  expect(contact.isAlone(11_000)).toBe(false)
  contact.noteController({ state: 'offline' })
  expect(contact.isAlone(11_001)).toBe(true)
  contact.noteController({ state: 'online' })
  contact.noteLink(false, 12_000)
  contact.noteLink(false, 15_000)
  expect([contact.isAlone(21_999), contact.isAlone(22_000)]).toEqual([false, true])
})

test('Steering follows the capsule while alone, the floor once it has ended, and the controller when it is back', () => {
  const events: DeviceEvent[] = []
  const followed: Plan[] = []
  const desired: Plan = { ladder: [rung(7, 222)], leaseBps: 250 }
  let ms = 0
  const steering = new Steering({
    device: DEVICE,
    dataDir: folder,
    controllerKey: undefined,
    monotonicMs: () => ms,
    mark: () => ({ ...now, uptimeMs: ms }),
    readHeadroom: () => ({ thermalHeadroom: undefined, batteryHeadroom: undefined }),
    refusalOf: () => undefined,
    desiredOf: () => desired,
    onEvent: (event) => events.push(event),
  })
  const slots = new Map([
    [
      SLOT,
      {
        follow: (plan: Plan) => void followed.push(plan),
        configuration: configurationOf(0),
        factors: () => ({ rate: 1, power: 1, latency: 1 }),
      },
    ],
  ])
  const at = (nextMs: number, isConnected: boolean): void => {
    ms = nextMs
    steering.step(isConnected, slots)
  }
  steering.receiveCapsule(signDocument(capsuleOf(), key), false)
  at(1000, true)
  at(2000, false)
  expect(followed).toEqual([])
  at(12_000, false)
  at(13_000, false)
  expect(followed.map(({ ladder }) => ladder[0]!.rateBps)).toEqual([200])
  at(1000 + 3_600_000, false)
  expect(followed.at(-1)).toMatchObject({ ladder: [rung(255, 100)], leaseBps: 250 })
  at(3_700_000, true)
  expect(followed.at(-1)).toBe(desired)
  steering.receiveCapsule({}, false)
  steering.receiveCapsule({}, false)
  expect(events.map(({ kind }) => kind)).toEqual([
    'controller-key-trusted',
    'controller-lost',
    'controller-back',
    'capsule-refused',
  ])
})

test('readHeadroom() takes the hottest zone and a battery that is discharging, and passes over what cannot be read', () => {
  const tree: Record<string, string> = {
    '/sys/class/thermal/thermal_zone0/temp': '62000\n',
    '/sys/class/thermal/thermal_zone0/trip_point_0_type': 'passive\n',
    '/sys/class/thermal/thermal_zone0/trip_point_0_temp': '67000\n',
    '/sys/class/thermal/thermal_zone1/temp': '40000\n',
    // Always reads so, on several boards: no reason to slow down.
    '/sys/class/thermal/thermal_zone3/type': 'PMIC-Die\n',
    '/sys/class/thermal/thermal_zone3/temp': '100000\n',
    '/sys/class/power_supply/BAT0/type': 'Battery\n',
    '/sys/class/power_supply/BAT0/capacity': '30\n',
    '/sys/class/power_supply/BAT0/status': 'Discharging\n',
    '/sys/class/power_supply/AC/type': 'Mains\n',
  }
  const files: SystemFiles = {
    read(path) {
      const text = tree[path]
      if (text === undefined)
        throw Object.assign(new Error('no'), { code: path.includes('zone2') ? 'EAGAIN' : 'ENOENT' })
      return text
    },
    list(path) {
      if (path === '/sys/class/thermal') return ['thermal_zone0', 'thermal_zone1', 'thermal_zone2', 'thermal_zone3']
      if (path === '/sys/class/power_supply') return ['AC', 'BAT0']
      return Object.keys(tree)
        .filter((name) => name.startsWith(`${path}/`))
        .map((name) => name.slice(path.length + 1))
    },
  }
  expect(readHeadroom('/', files)).toEqual({ thermalHeadroom: 0.5, batteryHeadroom: expect.closeTo(0.5, 9) })
  expect([thermalHeadroom(90, 80), thermalHeadroom(20, 80), batteryHeadroom(0.05), batteryHeadroom(1)]).toEqual([
    0, 1, 0, 1,
  ])
})
