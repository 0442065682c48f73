import { configurationId } from '@espalier/shared/configuration'
import { type Conditions, chooseRung, scarcityAt } from '@espalier/shared/ladder/choose-rung'
import { ladderFrom } from '@espalier/shared/ladder/ladder-from'
import { type CapsuleSlot, capsuleSchema } from '@espalier/shared/messages/capsule'
import type { Rung } from '@espalier/shared/messages/controller'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { makeConfiguration } from '../make-configuration.ts'

const VALID_S = 3600
const fine: Conditions = { ageS: 0, rateFactor: 1, powerFactor: 1, slowdown: 1 }

function rungOf(alpha255: number, rateBps: number, powerW: number, utility: number, latencyMs = 50) {
  const configuration = makeConfiguration({ alpha255, width: 256, height: 144 })
  return { configuration, rateBps, powerW, utility, latencyMs }
}

const slotOf = (changes: Partial<CapsuleSlot> = {}): CapsuleSlot => ({
  slot: 'cam0' as CapsuleSlot['slot'],
  ladder: [rungOf(0, 400, 4, 1), rungOf(64, 300, 3.5, 0.9), rungOf(128, 200, 3, 0.7), rungOf(255, 50, 2, 0.3)],
  lease: { rateBps: 320, powerW: 3.6 },
  prices: { lambda: 0.001, mu: 0.1 },
  ...changes,
})

const anyConditions: fc.Arbitrary<Conditions> = fc.record({
  ageS: fc.option(fc.double({ min: 0, max: 2 * VALID_S, noNaN: true }), { nil: undefined }),
  rateFactor: fc.double({ min: 0.3, max: 3, noNaN: true }),
  powerFactor: fc.double({ min: 0.5, max: 2, noNaN: true }),
  slowdown: fc.double({ min: 0.5, max: 6, noNaN: true }),
  thermalHeadroom: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  batteryHeadroom: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  chosen: fc.option(fc.constantFrom(...slotOf().ladder.map((r) => configurationId(r.configuration))), {
    nil: undefined,
  }),
})

describe('chooseRung()', () => {
  test('takes the best that keeps the lease', () => {
    expect(chooseRung(slotOf(), VALID_S, fine)).toBe(1)
    expect(chooseRung(slotOf({ lease: {} }), VALID_S, fine)).toBe(0)
    expect(chooseRung(slotOf({ lease: { powerW: 3.2 } }), VALID_S, fine)).toBe(2)
  })

  test('goes up when content becomes easy, and down when it becomes hard', () => {
    expect(chooseRung(slotOf({ lease: { rateBps: 320 } }), VALID_S, { ...fine, rateFactor: 0.7 })).toBe(0)
    expect(chooseRung(slotOf(), VALID_S, { ...fine, rateFactor: 1.5 })).toBe(2)
  })

  test('falls to the floor at the end of the capsule, and when nobody knows its age', () => {
    expect(chooseRung(slotOf(), VALID_S, { ...fine, ageS: VALID_S })).toBe(3)
    expect(chooseRung(slotOf(), VALID_S, { ...fine, ageS: undefined })).toBe(3)
  })

  test('keeps the deadline of a device that has become slow', () => {
    const ladder = [rungOf(0, 400, 4, 1, 120), rungOf(64, 300, 3.5, 0.9, 60), rungOf(255, 50, 2, 0.3, 20)]
    expect(chooseRung(slotOf({ ladder, lease: {} }), VALID_S, { ...fine, slowdown: 2 })).toBe(1)
  })

  test('asks for less power with less headroom, and for the floor with none', () => {
    const chosen = [1, 0.8, 0.5, 0].map((thermalHeadroom) =>
      chooseRung(slotOf({ lease: {} }), VALID_S, { ...fine, thermalHeadroom }),
    )
    expect(chosen).toEqual([0, 1, 2, 3])
    expect(chooseRung(slotOf({ lease: {} }), VALID_S, { ...fine, batteryHeadroom: 0 })).toBe(3)
  })

  test('changes the graph only for one that is well within the limits, also back to one that a brake has left', () => {
    const [heavy, light] = [rungOf(0, 300, 3.5, 1), rungOf(0, 300, 2, 0.8)].map((each, i) => ({
      ...each,
      configuration: { ...each.configuration, variant: `v${i}` },
    })) as [Rung, Rung]
    const slot = slotOf({ ladder: [heavy, light], lease: { powerW: 3.6 } })
    const chosen = configurationId(heavy.configuration)
    // 3.5 W of 3.6 W, and a little more, is good enough to stay, and too much to come for.
    expect(chooseRung(slot, VALID_S, { ...fine, chosen, runs: heavy.configuration, powerFactor: 1.05 })).toBe(0)
    expect(chooseRung(slot, VALID_S, { ...fine, chosen, runs: light.configuration })).toBe(1)
    expect(chooseRung(slot, VALID_S, { ...fine, chosen, runs: light.configuration, powerFactor: 0.97 })).toBe(0)
    expect(chooseRung(slot, VALID_S, fine)).toBe(0)
  })

  test('drifts to cheaper rungs as prices age, by one per cent a minute after ten minutes', () => {
    expect([0, 600, 660, 6600].map(scarcityAt)).toEqual([1, 1, expect.closeTo(1.01, 9), expect.closeTo(2, 9)])
    const slot = slotOf({ lease: {}, prices: { lambda: 0.01, mu: 0 } })
    expect(chooseRung(slot, 100_000, { ...fine, ageS: 60 })).toBe(0)
    expect(chooseRung(slot, 100_000, { ...fine, ageS: 20_000 })).toBe(3)
  })

  test('gives controller and device the same answer, and none over the lease unless it is the floor', () => {
    fc.assert(
      fc.property(anyConditions, (conditions) => {
        const slot = slotOf()
        const capsule = {
          format: 'espalier-capsule/1',
          device: 'cam-1',
          gen: 1,
          issuedMs: 0,
          validS: VALID_S,
          slots: [slot],
        }
        const sent = capsuleSchema.parse(JSON.parse(JSON.stringify(capsule)))
        const rung = chooseRung(slot, VALID_S, conditions)
        expect(chooseRung(sent.slots[0]!, sent.validS, conditions)).toBe(rung)
        const { rateBps } = slot.ladder[rung]!
        const isWithin = rateBps * conditions.rateFactor <= 1.03 * slot.lease.rateBps!
        expect(isWithin || rung === slot.ladder.length - 1).toBe(true)
      }),
    )
  })
})

test('ladderFrom() keeps rungs of one rate that ask for less power, as those of a classifier do', () => {
  const ladder = [4, 4, 3].map((powerW, i) => rungOf(i, 400, powerW, 1 - i / 10))
  expect(ladderFrom(slotOf({ ladder }), 0).map(({ powerW }) => powerW)).toEqual([4, 3])
})

test('ladderFrom() gives rungs that ask for ever less rate and no more power', () => {
  const ladder = [rungOf(0, 400, 4, 1), rungOf(64, 300, 5, 0.9), rungOf(128, 200, 3, 0.7), rungOf(255, 250, 1, 0.3)]
  expect(ladderFrom(slotOf({ ladder }), 0).map(({ rateBps }) => rateBps)).toEqual([400, 200])
})
