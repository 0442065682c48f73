import type { Problem, SlotProblem, Solution } from '@espalier/controller/plan/problem'
import { solve } from '@espalier/controller/plan/solve'
import fc from 'fast-check'
import highsLoader from 'highs'
import { beforeAll, describe, expect, test } from 'vitest'

type Highs = Awaited<ReturnType<typeof highsLoader>>
let highs: Highs
beforeAll(async () => {
  highs = await highsLoader()
})

/** HiGHS reads lines of at most 560 characters. */
function row(terms: readonly string[]): string {
  const lines: string[] = []
  for (let i = 0; i < terms.length; i += 12) lines.push(terms.slice(i, i + 12).join(' '))
  return lines.join('\n ')
}

function toLp({ slots, siteRateBps, fleetPowerMw }: Problem, isInteger: boolean): string {
  const all = slots.flatMap(({ choices, site }, i) =>
    choices.map((choice, j) => ({ name: `x${i}_${j}`, choice, site })),
  )
  const sum = (items: typeof all, weight: (c: (typeof all)[number]['choice']) => number) =>
    row(items.map(({ name, choice }) => `+ ${weight(choice)} ${name}`))
  const rows = [
    ...slots.map(({ choices }, i) => ` one${i}: ${row(choices.map((_, j) => `+ x${i}_${j}`))} = 1`),
    ...[...siteRateBps].flatMap(([site, limit]) => {
      const members = all.filter((x) => x.site === site)
      return members.length === 0 ? [] : [` site_${site}: ${sum(members, (c) => c.rateBps)} <= ${limit}`]
    }),
    ...(fleetPowerMw === undefined ? [] : [` power: ${sum(all, (c) => c.powerMw)} <= ${fleetPowerMw}`]),
  ]
  const names = row(all.map(({ name }) => name))
  const domain = isInteger ? `Binary\n ${names}` : `Bounds\n ${all.map(({ name }) => `0 <= ${name} <= 1`).join('\n ')}`
  return `Maximize\n obj: ${sum(all, (c) => c.utility)}\nSubject To\n${rows.join('\n')}\n${domain}\nEnd`
}

const choiceArbitrary = fc.record({
  rateBps: fc.integer({ min: 0, max: 500_000 }),
  powerMw: fc.integer({ min: 0, max: 8000 }),
  utility: fc.integer({ min: 0, max: 1_000_000 }),
})

const slotArbitrary = fc.record({
  site: fc.constantFrom('a', 'b', 'c'),
  choices: fc.array(choiceArbitrary, { minLength: 1, maxLength: 7 }),
})

/** Limits lie between what the cheapest and the dearest choices would use, and a little beyond both. */
const problemArbitrary = fc
  .record({
    slots: fc.array(slotArbitrary, { minLength: 1, maxLength: 9 }),
    siteShares: fc.array(fc.option(fc.double({ min: -0.05, max: 1.1, noNaN: true })), { minLength: 3, maxLength: 3 }),
    powerShare: fc.option(fc.double({ min: -0.05, max: 1.1, noNaN: true })),
  })
  .map(({ slots, siteShares, powerShare }): Problem => {
    const named = slots.map(
      ({ site, choices }, i): SlotProblem => ({
        key: `device-${i}/cam0`,
        site,
        choices: choices.map((c, j) => ({ ...c, id: `c${j}`, rateSigmaBps: 0, powerSigmaMw: 0 })),
      }),
    )
    const between = (members: SlotProblem[], field: 'rateBps' | 'powerMw', share: number) => {
      const sum = (pick: (...values: number[]) => number) =>
        members.reduce((total, { choices }) => total + pick(...choices.map((c) => c[field])), 0)
      return Math.max(0, Math.floor(sum(Math.min) + share * (sum(Math.max) - sum(Math.min))))
    }
    const siteRateBps = new Map(
      ['a', 'b', 'c'].flatMap((site, i) => {
        const share = siteShares[i]
        const members = named.filter((s) => s.site === site)
        return typeof share === 'number' ? [[site, between(members, 'rateBps', share)] as const] : []
      }),
    )
    const fleetPowerMw = powerShare === null ? undefined : between(named, 'powerMw', powerShare)
    return { slots: named, siteRateBps, fleetPowerMw }
  })

function used(problem: Problem, solution: Solution) {
  const picked = problem.slots.map(({ site, choices }, i) => ({ site, ...choices[solution.chosen[i]!]! }))
  const rate = (site: string) => picked.filter((p) => p.site === site).reduce((sum, p) => sum + p.rateBps, 0)
  return { rate, powerMw: picked.reduce((sum, p) => sum + p.powerMw, 0) }
}

const choice = (id: string, rateBps: number, powerMw: number, utility: number) => ({
  id,
  rateBps,
  powerMw,
  utility,
  rateSigmaBps: 0,
  powerSigmaMw: 0,
})
const oneSite = (slots: SlotProblem['choices'][], rateBps: number, fleetPowerMw?: number): Problem => ({
  slots: slots.map((choices, i) => ({ key: `d${i}/cam0`, site: 'a', choices })),
  siteRateBps: new Map([['a', rateBps]]),
  fleetPowerMw,
})

describe('solve()', () => {
  test('has the bound of the linear relaxation that HiGHS finds', () => {
    let feasible = 0
    fc.assert(
      fc.property(problemArbitrary, (problem) => {
        const relaxed = highs.solve(toLp(problem, false))
        const solution = solve(problem)
        if (relaxed.Status !== 'Optimal') return
        feasible++
        expect(solution.infeasibleSites).toEqual([])
        expect(Math.abs(solution.bound - relaxed.ObjectiveValue)).toBeLessThanOrEqual(
          1e-6 * Math.max(1, Math.abs(relaxed.ObjectiveValue)),
        )
      }),
      { numRuns: 500, seed: 7 },
    )
    expect(feasible).toBeGreaterThan(100)
  })

  test('keeps every limit that it does not call infeasible, and never exceeds its bound', () => {
    fc.assert(
      fc.property(problemArbitrary, (problem) => {
        const solution = solve(problem)
        const { rate, powerMw } = used(problem, solution)
        for (const [site, limit] of problem.siteRateBps)
          if (!solution.infeasibleSites.includes(site)) expect(rate(site)).toBeLessThanOrEqual(limit)
        if (problem.fleetPowerMw !== undefined && !solution.isPowerInfeasible)
          expect(powerMw).toBeLessThanOrEqual(problem.fleetPowerMw)
        if (solution.infeasibleSites.length === 0 && !solution.isPowerInfeasible)
          expect(solution.value).toBeLessThanOrEqual(solution.bound + 1e-3)
      }),
      { numRuns: 500, seed: 7 },
    )
  })

  test('comes within a few per cent of the integer optimum even on tiny fleets', () => {
    let [own, optimal] = [0, 0]
    fc.assert(
      fc.property(problemArbitrary, (problem) => {
        const exact = highs.solve(toLp(problem, true))
        if (exact.Status !== 'Optimal') return
        const solution = solve(problem)
        if (solution.isPowerInfeasible) return
        own += solution.value
        optimal += exact.ObjectiveValue
        expect(solution.value).toBeLessThanOrEqual(exact.ObjectiveValue * (1 + 1e-6) + 1)
      }),
      { numRuns: 150, seed: 7 },
    )
    expect(own / optimal).toBeGreaterThan(0.97)
  })

  test('gives equal plans for equal inputs', () => {
    fc.assert(
      fc.property(problemArbitrary, (problem) => {
        expect(solve(structuredClone(problem))).toEqual(solve(problem))
      }),
      { numRuns: 50, seed: 7 },
    )
  })

  test('gives the cheapest choices to a site that cannot keep its limit, and leaves it out of the fleet price', () => {
    const cheap = choice('cheap', 100, 10, 1)
    const dear = choice('dear', 900, 20, 9)
    const solution = solve(oneSite([[dear, cheap], [cheap]], 150))
    expect(solution.chosen).toEqual([1, 0])
    expect(solution.infeasibleSites).toEqual(['a'])
    expect(solution.mu).toBe(0)
  })

  test('has a price of zero where everything fits', () => {
    const solution = solve(oneSite([[choice('a', 10, 1, 1), choice('b', 20, 1, 2)]], 20))
    expect(solution.lambda.get('a')).toBe(0)
    expect(solution.chosen).toEqual([1])
  })

  test('takes a free gain: more utility at the same rate', () => {
    const solution = solve(oneSite([[choice('a', 10, 1, 1), choice('b', 10, 1, 2)]], 10))
    expect(solution.chosen).toEqual([1])
  })

  test('keeps identical devices within the limit and breaks their tie the same way each time', () => {
    const choices = [choice('low', 10, 1, 1), choice('high', 20, 1, 5)]
    const problem = oneSite([choices, choices, choices], 50)
    expect([...solve(problem).chosen].sort()).toEqual([0, 1, 1])
    expect(solve(problem).chosen).toEqual(solve(problem).chosen)
  })

  test('stands a capacity of zero, a weight of zero, and no slots at all', () => {
    expect(solve(oneSite([[choice('a', 10, 1, 1)]], 0)).infeasibleSites).toEqual(['a'])
    expect(solve(oneSite([[choice('a', 0, 1, 0), choice('b', 5, 1, 0)]], 0)).chosen).toEqual([0])
    expect(solve({ slots: [], siteRateBps: new Map([['a', 5]]), fleetPowerMw: 5 }).value).toBe(0)
  })

  test('says so when even the least power is too much', () => {
    const solution = solve(oneSite([[choice('a', 1, 500, 9), choice('b', 1, 400, 1)]], 10, 300))
    expect(solution.isPowerInfeasible).toBe(true)
    expect(solution.chosen).toEqual([1])
  })
})
