import { columnsOf } from '@espalier/controller/plan/choice-columns'
import { FleetSolver, type ProblemLimits, type SlotColumns } from '@espalier/controller/plan/solve'
import { seededRandom } from '@espalier/controller/sim/random'
import { expect, test } from 'vitest'

const random = seededRandom(3)
/** Choices of which more rate and power are worth more, at their own rate of exchange. */
function makeChoices(count: number) {
  const taste = Math.exp(0.5 * random.normal())
  return columnsOf(
    Array.from({ length: count }, () => {
      const size = random.uniform()
      const [rateBps, powerMw] = [
        Math.ceil(4e5 * size * random.uniform()),
        Math.ceil(1000 + 4000 * size * random.uniform()),
      ]
      return { rateBps, powerMw, utility: Math.round(1e6 * taste * (rateBps / 4e5 + powerMw / 5000) ** 0.4) }
    }),
  )
}

const makeFleet = (count: number): SlotColumns[] =>
  Array.from({ length: count }, (_, i) => ({
    input: {
      key: `device-${String((i * 7) % count).padStart(3, '0')}/cam0`,
      site: `site-${i % 5}`,
      carbonGPerKwh: [60, 320][(i % 5) % 2]!,
    },
    choices: makeChoices(10 + (i % 9)),
  }))

const limitsOf = (slots: readonly SlotColumns[], share: number): ProblemLimits => ({
  siteRateBps: new Map([0, 1, 2].map((s) => [`site-${s}`, Math.floor(share * slots.length * 20_000)])),
  gateways: new Map([
    ['mast', { rateBps: Math.floor(share * slots.length * 50_000), sites: ['site-1', 'site-2', 'site-3'] }],
  ]),
  fleetPowerMw: Math.floor(share * slots.length * 2600),
  fleetCarbonUgPerH: Math.floor(share * slots.length * 2600 * 160),
})

function usedOf(slots: readonly SlotColumns[], chosen: readonly number[]) {
  const rate = new Map<string, number>()
  let [powerMw, carbon, value] = [0, 0, 0]
  for (const [i, { input, choices }] of slots.entries()) {
    const { site, carbonGPerKwh = 0 } = input
    const c = chosen[i]!
    rate.set(site, (rate.get(site) ?? 0) + choices.rateBps[c]!)
    powerMw += choices.powerMw[c]!
    carbon += choices.powerMw[c]! * carbonGPerKwh
    value += choices.utility[c]!
  }
  return { rate, powerMw, carbon, value }
}

test('a solver that keeps its tables answers as one that begins anew, whatever changes between two problems', () => {
  const kept = new FleetSolver(true)
  let slots = makeFleet(120)
  for (let round = 0; round < 30; round++) {
    const limits = limitsOf(slots, [1, 0.9, 1.1, 0.95][round % 4]!)
    const again = kept.solve(slots, limits)
    const anew = new FleetSolver().solve(slots, limits)
    expect(Math.abs(again.bound - anew.bound)).toBeLessThan(1e-6 * anew.bound)
    expect(again.value).toBeGreaterThan(0.995 * anew.value)
    const used = usedOf(slots, again.chosen)
    expect(used.value).toBe(again.value)
    for (const [site, limit] of limits.siteRateBps) expect(used.rate.get(site)).toBeLessThanOrEqual(limit)
    expect(used.powerMw).toBeLessThanOrEqual(limits.fleetPowerMw!)
    expect(used.carbon).toBeLessThanOrEqual(limits.fleetCarbonUgPerH!)
    // A third have other choices, now and then more than there was room for; or a slot comes, moves or goes.
    slots = slots.map((slot, i) =>
      i % 3 === round % 3
        ? { ...slot, choices: makeChoices(8 + ((i + round) % 12) + (i === 7 && round === 11 ? 40 : 0)) }
        : slot,
    )
    if (round % 7 === 3) slots = slots.slice(1)
    if (round % 7 === 5)
      slots = slots.map((slot, i) => (i === 4 ? { ...slot, input: { ...slot.input, site: 'site-0' } } : slot))
  }
})

test('one slot after the other may change alone: every limit is kept, the bound stays one, and few others move', () => {
  const solver = new FleetSolver(true)
  let slots = makeFleet(200)
  let before = solver.solve(slots, limitsOf(slots, 1))
  let [alone, moves] = [0, 0]
  for (let round = 0; round < 60; round++) {
    const at = (round * 37) % slots.length
    slots = slots.with(at, { ...slots[at]!, choices: makeChoices(8 + (round % 12)) })
    // Idle power moves with every estimate, and what may be planned with it.
    const limits = { ...limitsOf(slots, 1), fleetPowerMw: limitsOf(slots, 1).fleetPowerMw! + (round % 5) * 40 }
    const changed = solver.change(slots, limits, 4)
    const now = changed ?? solver.solve(slots, limits)
    if (changed !== undefined) {
      alone++
      moves += now.chosen.filter((c, i) => i !== at && c !== before.chosen[i]).length
    }
    const used = usedOf(slots, now.chosen)
    expect(used.value).toBe(now.value)
    for (const [site, limit] of limits.siteRateBps) expect(used.rate.get(site)).toBeLessThanOrEqual(limit)
    expect(used.powerMw).toBeLessThanOrEqual(limits.fleetPowerMw!)
    expect(used.carbon).toBeLessThanOrEqual(limits.fleetCarbonUgPerH!)
    expect(now.bound).toBeGreaterThanOrEqual(new FleetSolver().solve(slots, limits).value)
    before = now
  }
  expect(alone).toBeGreaterThan(20)
  expect(moves).toBeLessThanOrEqual(alone)
})
