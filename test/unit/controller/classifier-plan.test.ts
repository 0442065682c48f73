import { makeCapsuleLadder } from '@espalier/controller/capsule/capsule-ladder'
import { priorEstimate, type TelemetryWindow, updateEstimate } from '@espalier/controller/estimate/slot-estimate'
import { qualityOfVariants } from '@espalier/controller/plan/classifier-cost'
import { allowedOptions, listOptions, type SlotInput } from '@espalier/controller/plan/option'
import { type Limit, planFleet } from '@espalier/controller/plan/plan-fleet'
import { predictNominal } from '@espalier/controller/plan/predict'
import { prepareSlot } from '@espalier/controller/plan/prepare'
import { utilityOf, utilityPerPoint, worthOf } from '@espalier/controller/plan/quality'
import { measureLoad } from '@espalier/controller/planner/measure-load'
import { comparePlans } from '@espalier/controller/planner/what-if'
import { eventRateBps } from '@espalier/shared/classifier/event-rate'
import { configurationId } from '@espalier/shared/configuration'
import { describe, expect, test } from 'vitest'
import { makeClassifierManifest } from '../make-classifier-manifest.ts'
import { card, sorts } from './classifier-fixtures.ts'
import { manifest as codec, DEVICE, makeBirth, makeTelemetry, SLOT } from './controller-fixtures.ts'

const WASM1 = { backend: 'wasm', threads: 1, macsPerSecond: 4e10 } as const
const WASM2 = { backend: 'wasm', threads: 2, macsPerSecond: 6.4e10 } as const

function input(birth: Partial<SlotInput['birth']> = {}, changes: Partial<SlotInput> = {}): SlotInput {
  return {
    key: `${DEVICE}/${SLOT}`,
    site: 'local',
    birth: makeBirth(DEVICE, { family: 'sorts', backends: [WASM1], ...birth }).slots[0]!,
    manifest: sorts,
    estimate: priorEstimate,
    planned: undefined,
    ...changes,
  }
}
const limit = (total: number): Limit => ({ total, reserved: 0, marginShare: 0.08 })
const free = { sites: new Map<string, Limit>(), power: undefined }
const shapeOf = ({ configuration: c }: { configuration: { variant: string; threads: number; frameRate: number } }) =>
  `${c.variant} wasm${c.threads} @${c.frameRate}`

describe('options of a classifier slot', () => {
  test('are its variants on what was measured, at three frame rates, at the size of the input and without alpha', () => {
    const unmeasured = { backend: 'native', threads: 1 } as const
    const options = listOptions(input({ backends: [WASM1, WASM2, unmeasured] }))
    expect(new Set(options.map(shapeOf))).toEqual(
      new Set(
        ['base', 'lean'].flatMap((variant) =>
          [1, 2].flatMap((threads) => [5, 2.5, 1].map((rate) => `${variant} wasm${threads} @${rate}`)),
        ),
      ),
    )
    for (const { configuration } of options) expect(configuration).toMatchObject({ alpha255: 0, width: 32, height: 24 })
  })

  test('cost time and energy by their multiply-accumulates at the speed of the backend', () => {
    const nominal = (variant: string, backend: typeof WASM1 | typeof WASM2) => {
      const { birth } = input({ backends: [WASM1, WASM2] })
      const { configuration } = listOptions(input({ backends: [WASM1, WASM2] })).find(
        ({ configuration: c }) => c.variant === variant && c.threads === backend.threads,
      )!
      return predictNominal(configuration, birth, sorts)
    }
    const [base, lean, two] = [nominal('base', WASM1), nominal('lean', WASM1), nominal('base', WASM2)]
    expect(base.latencyS - lean.latencyS).toBeCloseTo(0.9e9 / 4e10, 9)
    expect(base.latencyS - two.latencyS).toBeCloseTo(1e9 / 4e10 - 1e9 / 6.4e10, 9)
    expect(base.joulesPerFrame - lean.joulesPerFrame).toBeCloseTo(4 * (0.9e9 / 4e10), 9)
    // Two threads are less than twice as fast.
    expect(two.joulesPerFrame).toBeGreaterThan(base.joulesPerFrame)
  })

  test('take the time that cards say where they compare a variant with the first: quantised, each multiplication is cheaper', () => {
    const judged = { pictures: 9, agreementPct: 99 }
    const carded = makeClassifierManifest([
      { id: 'base', macs: 1e9, judged, measured: [card(100), card(60, 2)] },
      { id: 'int8', macs: 1e9, judged, measured: [card(40), { ...card(1), deviceClass: 'another' }] },
    ])
    const { birth } = input({ backends: [WASM1, WASM2] })
    const latencyOf = (variant: string, threads: number) => {
      const options = listOptions(input({ backends: [WASM1, WASM2] }, { manifest: carded }))
      const { configuration } = options.find(({ configuration: c }) => c.variant === variant && c.threads === threads)!
      return predictNominal(configuration, birth, carded).latencyS
    }
    const overheadS = latencyOf('base', 1) - 0.025
    expect(overheadS).toBeGreaterThan(0)
    expect(latencyOf('int8', 1) - overheadS).toBeCloseTo(0.01, 9)
    // Nothing compares them with two threads.
    expect(latencyOf('int8', 2)).toBeCloseTo(latencyOf('base', 2), 9)
  })

  test('take no more of the uplink than an event a second, whatever the variant', () => {
    const options = listOptions(input({ source: { kind: 'synthetic', width: 256, height: 192, frameRate: 2.5 } }))
    const rateOf = (frameRate: number) =>
      new Set(options.flatMap((o) => (o.configuration.frameRate === frameRate ? o.rateBps : [])))
    expect([...rateOf(2.5)]).toEqual([...rateOf(1.25)])
    expect([...rateOf(2.5)]).toEqual([eventRateBps(8 * 60, 2.5)])
    expect([...rateOf(0.5)]).toEqual([eventRateBps(8 * 60, 2.5) / 2])
  })

  test('that the device has no room for are out, where any fits', () => {
    const judged = { pictures: 9, agreementPct: 100 }
    const family = makeClassifierManifest([
      { id: 'base', macs: 1e9, judged, measured: [{ ...card(9), rssBytes: 9e8 }] },
      { id: 'lean', macs: 1e8, judged },
    ])
    const variants = (maxWorkerBytes: number) =>
      new Set(listOptions(input({ maxWorkerBytes }, { manifest: family })).map((o) => o.configuration.variant))
    expect(variants(1e9)).toEqual(new Set(['base', 'lean']))
    expect(variants(8e8)).toEqual(new Set(['lean']))
    expect(variants(1e6)).toEqual(new Set(['base', 'lean']))
  })

  test('that come too late or are right too seldom are out', () => {
    const allowed = (birth: Partial<SlotInput['birth']>) =>
      allowedOptions(listOptions(input(birth))).allowed.map(shapeOf)
    // 1 s a frame of the first variant, a tenth of the other.
    const slow = allowed({ backends: [{ ...WASM1, macsPerSecond: 1e9 }] })
    expect(slow).toContain('lean wasm1 @2.5')
    expect(slow.some((shape) => shape.startsWith('base'))).toBe(false)
    expect(allowed({ minAccuracyPct: 85 }).every((shape) => shape.startsWith('base'))).toBe(true)
  })
})

describe('utility of a classifier slot', () => {
  const slot = { weight: 2, source: { frameRate: 10 } }

  test('is accuracy relative to the best variant, and falls with the frame rate as that of a codec', () => {
    const quality = { accuracyPct: 81, bestPct: 90 }
    expect(utilityOf({ accuracyPct: 90, bestPct: 90 }, 10, slot)).toBe(2)
    expect(utilityOf(quality, 10, slot)).toBeCloseTo(1.8, 9)
    const ofCodec = utilityOf({ psnrDb: 35 }, 2, slot) / utilityOf({ psnrDb: 35 }, 10, slot)
    expect(utilityOf(quality, 2, slot) / 1.8).toBeCloseTo(ofCodec, 9)
    expect(worthOf({})).toBe(0)
  })

  test('grows by one point as it says', () => {
    for (const [quality, more] of [
      [
        { accuracyPct: 80, bestPct: 90 },
        { accuracyPct: 80.01, bestPct: 90 },
      ],
      [{ psnrDb: 33 }, { psnrDb: 33.01 }],
    ])
      expect((utilityOf(more!, 5, slot) - utilityOf(quality!, 5, slot)) / 0.01).toBeCloseTo(
        utilityPerPoint(quality!, 5, slot),
        3,
      )
  })

  test('is by agreement where nothing was labelled, and a variant that nobody judged is not planned', () => {
    const quality = qualityOfVariants(
      makeClassifierManifest([
        { id: 'base', macs: 1e9 },
        { id: 'lean', macs: 1e8, judged: { pictures: 9, agreementPct: 75 } },
        { id: 'unknown', macs: 1e6 },
      ]),
    )
    expect(Object.fromEntries(quality)).toEqual({
      base: { accuracyPct: 100, bestPct: 100 },
      lean: { accuracyPct: 75, bestPct: 100 },
    })
    const labelled = { pictures: 9, accuracyPct: 50, agreementPct: 60 }
    const some = makeClassifierManifest([
      { id: 'base', macs: 1e9 },
      { id: 'lean', macs: 1e8, judged: labelled },
    ])
    // Of the first nothing is known that could be compared with an accuracy.
    expect([...qualityOfVariants(some).keys()]).toEqual(['lean'])
  })
})

describe('a plan with a classifier slot', () => {
  const base = priorEstimate.basePower.meanW
  const capped = (maxPowerW: number) => planFleet({ slots: [input({}, { maxPowerW })], ...free }).slots[0]!

  test('runs the best variant where nothing is scarce, the cheaper one under a cap of its device, and says why', () => {
    const ample = planFleet({ slots: [input()], ...free }).slots[0]!
    expect(shapeOf(ample.chosen)).toBe('base wasm1 @5')
    expect(ample.why).toMatchObject({ binding: 'none', predicted: { accuracyPct: 90 } })
    expect(ample.why.predicted).not.toHaveProperty('psnrDb')
    const squeezed = capped(base + 0.5 * (ample.chosen.prediction.powerW - base))
    expect(shapeOf(squeezed.chosen)).toBe('lean wasm1 @5')
    expect(squeezed.why.binding).toBe('device power')
    expect(squeezed.why.price).toMatch(
      /more for this device would be worth .* utility, about 9\.\d\d points of accuracy here/,
    )
  })

  test('has a ladder and a capsule whose rungs take ever less power on one backend, though all take the same rate', () => {
    const slot = planFleet({ slots: [input({ backends: [WASM2, WASM1] })], ...free }).slots[0]!
    const { ladder } = slot
    expect(ladder.length).toBeGreaterThan(1)
    expect(ladder.some(({ configuration }) => configuration.variant === 'lean')).toBe(true)
    for (const [i, rung] of ladder.slice(1).entries()) {
      expect(rung.rateBps).toBe(ladder[i]!.rateBps)
      expect(rung.powerW).toBeLessThan(ladder[i]!.powerW)
    }
    const all = [...ladder, ...makeCapsuleLadder(slot.chosen, slot.allowed)]
    expect(new Set(all.map(({ configuration: { threads } }) => threads)).size).toBe(1)
  })

  test('shares the power of the fleet with a codec slot, and prices it in utility', () => {
    const pair = [input(), { ...input({}, { manifest: codec, key: 'cam-2/cam0' }), birth: makeBirth().slots[0]! }].map(
      (slot) => ({ ...slot, estimate: { ...priorEstimate, basePower: { meanW: 2, varianceW2: 0, readings: 9 } } }),
    )
    const ample = planFleet({ slots: pair, ...free })
    const total = ample.slots.reduce((sum, { chosen }) => sum + chosen.powerMw, 0)
    const plan = planFleet({ slots: pair, sites: new Map(), power: limit(4000 + Math.ceil(0.6 * (total - 4000))) })
    expect(plan.power!.isKept).toBe(true)
    expect(plan.value).toBeLessThan(ample.value)
    expect(plan.rows.find(({ key }) => key === 'power')!.worth).toMatch(/utility|points of accuracy|dB on/)
    const answer = { now: ample, after: plan, slots: pair.map(prepareSlot) }
    const { now, after } = comparePlans(
      { ...answer, after: { ...plan, chosen: plan.slots.map(({ chosen }) => chosen) } },
      9,
    )
    expect(now).toMatchObject({ accuracyPct: 90, psnrDb: expect.any(Number) })
    expect(after.accuracyPct! + after.psnrDb!).toBeLessThan(now.accuracyPct! + now.psnrDb!)
  })

  test('learns from telemetry what frames take, of all variants from one', () => {
    const slot = input()
    const options = listOptions(slot)
    const running = options.find(({ configuration: c }) => c.variant === 'base' && c.frameRate === 5)!
    const nominal = predictNominal(running.configuration, slot.birth, sorts)
    const window: TelemetryWindow = {
      configuration: running.id,
      seconds: 1,
      frames: 5,
      bits: 2 * 5 * nominal.bitsPerFrame,
      dynamicJoules: 3 * 5 * nominal.joulesPerFrame,
      baseJoules: 1.5,
      isModelled: true,
      latencyP50S: 1.5 * nominal.latencyS,
      psnrDb: undefined,
    }
    let { estimate } = slot
    for (let n = 0; n < 60; n++) estimate = updateEstimate(estimate, window, nominal)
    const learned = listOptions({ ...slot, estimate })
    for (const [i, option] of learned.entries()) {
      const { prediction } = option
      const own = predictNominal(option.configuration, slot.birth, sorts)
      expect(prediction.latencyS / own.latencyS).toBeCloseTo(1.5, 1)
      const dynamicW = prediction.powerW - 1.5
      expect(dynamicW / option.configuration.frameRate / own.joulesPerFrame / 3).toBeCloseTo(1, 1)
      expect(prediction.rateBps).toBeGreaterThan(options[i]!.prediction.rateBps)
      expect(prediction.accuracyPct).toBe(options[i]!.prediction.accuracyPct)
    }
    // What an event takes does not depend on who saw it: no rung is out of reach for a few bits.
    expect(new Set(learned.map(({ rateBps }) => rateBps)).size).toBe(1)
  })
})

test('measureLoad() counts the events that a classifier may send, not the result of each frame', () => {
  const { configuration } = listOptions(input())[0]!
  const [frames, seconds] = [200, 10]
  const row = (counted: { frames: number; bits: number; seconds: number }) => ({
    boot: 'boot-1',
    monoMs: counted.seconds * 1000,
    counters: makeTelemetry(configuration, { joules: counted.seconds, idleJoules: 0, ...counted }),
  })
  const device = {
    id: DEVICE,
    birth: makeBirth(DEVICE, { family: 'sorts' }),
    lastSeenMs: 0,
    recent: { first: row({ frames: 0, bits: 0, seconds: 0 }), last: row({ frames, bits: frames * 400, seconds }) },
  } as unknown as Parameters<typeof measureLoad>[0]
  const loadOf = (task: 'classification' | 'image-codec' | undefined) =>
    measureLoad(device, { view: () => undefined }, 0, () => task)
  expect(configurationId(configuration)).toContain('sorts/')
  expect(loadOf('classification')).toMatchObject({ rateBps: eventRateBps(400, 20), unplannedW: 0 })
  expect(loadOf('image-codec').rateBps).toBeCloseTo((frames * 400) / seconds, 6)
  expect(loadOf(undefined).unplannedW).toBeCloseTo(1, 6)
})
