import { changeSlot } from '@espalier/controller/solver/change-slot'
import type { FleetColumns } from '@espalier/controller/solver/columns'
import { findFleetPrices } from '@espalier/controller/solver/fleet-price'
import { Relaxer } from '@espalier/controller/solver/relax'
import {
  type FleetSolution,
  readSolution,
  solveAgain,
  solveFleet,
  solveTables,
} from '@espalier/controller/solver/solve-fleet'
import { makeTables, type Tables } from '@espalier/controller/solver/tables'
import { formatLp } from 'espalier/bench/lp-text'
import { makeSampleFleet } from 'espalier/bench/sample-fleet'
import fc from 'fast-check'
import highsLoader from 'highs'
import { beforeAll, describe, expect, test } from 'vitest'

type Highs = Awaited<ReturnType<typeof highsLoader>>
let highs: Highs
beforeAll(async () => {
  highs = await highsLoader()
})

const SITES = 3

/** Few values, so that ties and equal options are common; limits from nothing to plenty. */
const fleetArbitrary = fc
  .record({
    isCoarse: fc.boolean(),
    weight: fc.constantFrom(1, 1, 1e4),
    slots: fc.array(
      fc.record({
        site: fc.nat(SITES - 1),
        carbon: fc.constantFrom(0, 100, 400),
        options: fc.array(fc.tuple(fc.nat(1000), fc.nat(1000), fc.nat(1000)), { minLength: 1, maxLength: 6 }),
      }),
      { minLength: 1, maxLength: 10 },
    ),
    shares: fc.array(fc.option(fc.constantFrom(-0.1, 0, 0.1, 0.3, 0.5, 0.8, 1.1)), { minLength: 6, maxLength: 6 }),
    gateways: fc.array(fc.constantFrom(-1, 0), { minLength: SITES, maxLength: SITES }),
  })
  .map(({ isCoarse, weight, slots, shares, gateways }): FleetColumns => {
    const step = isCoarse ? 250 : 1
    const start = new Int32Array(slots.length + 1)
    for (const [i, { options }] of slots.entries()) start[i + 1] = start[i]! + options.length
    const column = (at: 0 | 1 | 2, scale: number) =>
      Float64Array.from(slots.flatMap(({ options }) => options.map((o) => Math.floor(o[at] / step) * step * scale)))
    const [rateBps, powerMw, utility] = [column(0, 1), column(1, 1), column(2, 1000 * weight)]
    const between = (
      isMine: (i: number) => boolean,
      of: (at: number, i: number) => number,
      share: number | null | undefined,
    ) => {
      if (share === null || share === undefined) return Number.POSITIVE_INFINITY
      let [least, most] = [0, 0]
      for (const i of slots.keys())
        if (isMine(i)) {
          const mine = Array.from({ length: start[i + 1]! - start[i]! }, (_, j) => of(start[i]! + j, i))
          least += Math.min(...mine)
          most += Math.max(...mine)
        }
      return Math.max(0, Math.floor(least + share * (most - least)))
    }
    const rate = (at: number) => rateBps[at]!
    return {
      siteOf: Int32Array.from(slots, ({ site }) => site),
      start,
      rateBps,
      powerMw,
      utility,
      carbonGPerKwh: Float64Array.from(slots, ({ carbon }) => carbon),
      limits: {
        siteRateBps: Float64Array.from({ length: SITES }, (_, s) =>
          between((i) => slots[i]!.site === s, rate, shares[s]),
        ),
        gatewayOf: Int32Array.from(gateways),
        gatewayRateBps: Float64Array.of(between((i) => gateways[slots[i]!.site] === 0, rate, shares[3])),
        powerMw: between(
          () => true,
          (at) => powerMw[at]!,
          shares[4],
        ),
        carbonUgPerH: between(
          () => true,
          (at, i) => powerMw[at]! * slots[i]!.carbon,
          shares[5],
        ),
      },
    }
  })

function used({ siteOf, start, rateBps, powerMw, utility, carbonGPerKwh, limits }: FleetColumns, choice: Int32Array) {
  const sites = new Float64Array(SITES)
  const gateways = new Float64Array(limits.gatewayRateBps.length)
  let [power, carbon, value] = [0, 0, 0]
  for (let i = 0; i < choice.length; i++) {
    const at = start[i]! + choice[i]!
    const gateway = limits.gatewayOf[siteOf[i]!]!
    sites[siteOf[i]!]! += rateBps[at]!
    if (gateway >= 0) gateways[gateway]! += rateBps[at]!
    power += powerMw[at]!
    carbon += powerMw[at]! * carbonGPerKwh![i]!
    value += utility[at]!
  }
  return { sites, gateways, power, carbon, value }
}

const isAllKept = (solution: FleetSolution): boolean =>
  solution.isFleetKept && solution.stuckSites.length === 0 && solution.stuckGateways.length === 0

describe('solveFleet()', () => {
  test('has the optimum of the relaxation that HiGHS finds, gateways and carbon included, on 200 fleets', () => {
    let feasible = 0
    fc.assert(
      fc.property(fleetArbitrary, (fleet) => {
        const relaxed = highs.solve(formatLp(fleet, false))
        if (relaxed.Status !== 'Optimal') return
        feasible++
        const solution = solveFleet(fleet)
        expect(solution.stuckSites).toEqual([])
        const scale = Math.max(1000, Math.abs(relaxed.ObjectiveValue))
        expect(Math.abs(solution.bound - relaxed.ObjectiveValue)).toBeLessThanOrEqual(1e-6 * scale)
      }),
      { numRuns: 200, seed: 11 },
    )
    expect(feasible).toBeGreaterThan(40)
  })

  test('keeps every limit that it does not call infeasible, and neither bound is ever below the true optimum', () => {
    let [own, optimal] = [0, 0]
    fc.assert(
      fc.property(fleetArbitrary, (fleet) => {
        const solution = solveFleet(fleet)
        const use = used(fleet, solution.choice)
        const { limits } = fleet
        expect(use.value).toBe(solution.value)
        for (let s = 0; s < SITES; s++)
          if (!solution.stuckSites.includes(s)) expect(use.sites[s]).toBeLessThanOrEqual(limits.siteRateBps[s]!)
        if (isAllKept(solution)) {
          expect(use.gateways[0]).toBeLessThanOrEqual(limits.gatewayRateBps[0]!)
          expect(use.power).toBeLessThanOrEqual(limits.powerMw)
          expect(use.carbon).toBeLessThanOrEqual(limits.carbonUgPerH)
        }
        const exact = highs.solve(formatLp(fleet, true), { mip_rel_gap: 0 })
        if (exact.Status !== 'Optimal') {
          expect(isAllKept(solution)).toBe(false)
          return
        }
        const scale = Math.max(1000, Math.abs(exact.ObjectiveValue))
        expect(solution.integerBound).toBeGreaterThanOrEqual(exact.ObjectiveValue - 1e-6 * scale)
        expect(solution.integerBound).toBeLessThanOrEqual(solution.bound + 1e-9 * scale)
        if (!isAllKept(solution)) return
        own += solution.value / scale
        optimal += exact.ObjectiveValue / scale
        expect(solution.value).toBeLessThanOrEqual(exact.ObjectiveValue + 1e-6 * scale)
      }),
      { numRuns: 200, seed: 12 },
    )
    expect(own / optimal).toBeGreaterThan(0.97)
  })

  test('gives the same plan for the same fleet, and one as good from warm prices', () => {
    const fleet = makeSampleFleet({ slots: 300, perSite: 50, seed: 1, perGateway: 3, hasCarbon: true })
    const first = solveFleet(fleet)
    expect(solveFleet(structuredClone(fleet))).toEqual(first)
    const warm = solveFleet(fleet, first.prices)
    expect(Math.abs(warm.bound - first.bound) / first.bound).toBeLessThan(1e-6)
    expect((warm.bound - warm.value) / warm.bound).toBeLessThan(2e-3)
  })

  test('comes within a thousandth of the bound at fifty slots a site', () => {
    for (const seed of [1, 2, 3]) {
      const { value, bound } = solveFleet(makeSampleFleet({ slots: 500, perSite: 50, seed }))
      expect((bound - value) / bound).toBeLessThan(1e-3)
    }
  })

  test('fills a fleet of equal devices up to one step, though all of them are torn at the same price', () => {
    const slots = 40
    const repeat = (values: readonly number[]) => Float64Array.from({ length: slots * 2 }, (_, i) => values[i % 2]!)
    const fleet: FleetColumns = {
      siteOf: Int32Array.from({ length: slots }, (_, i) => Math.floor(i / 10)),
      start: Int32Array.from({ length: slots + 1 }, (_, i) => 2 * i),
      rateBps: repeat([1, 1]),
      powerMw: repeat([10, 20]),
      utility: repeat([1000, 5000]),
      limits: {
        siteRateBps: new Float64Array(4).fill(10),
        gatewayOf: new Int32Array(4).fill(-1),
        gatewayRateBps: new Float64Array(),
        powerMw: 400 + 17 * 10 + 5,
        carbonUgPerH: Number.POSITIVE_INFINITY,
      },
    }
    const { choice, powerMw } = solveFleet(fleet)
    expect(choice.reduce((a, b) => a + b, 0)).toBe(17)
    expect(powerMw).toBe(570)
  })
})

describe('changeSlot()', () => {
  test('moves at most two slots, keeps every limit, and its bound stays above the optimum', () => {
    const fleet = makeSampleFleet({ slots: 400, perSite: 50, seed: 4 })
    const solved = solveTables(makeTables(fleet))
    for (let i = 0; i < 120; i++) {
      const slot = (i * 37) % 400
      const [from, to] = [fleet.start[slot]!, fleet.start[slot + 1]!]
      const factor = i % 2 === 0 ? 1.1 : 0.9
      for (let at = from; at < to; at++) fleet.rateBps[at] = Math.ceil(fleet.rateBps[at]! * factor)
      const options = {
        rateBps: fleet.rateBps.slice(from, to),
        powerMw: fleet.powerMw.slice(from, to),
        utility: fleet.utility.slice(from, to),
      }
      const moved = changeSlot(solved, slot, options)
      if (moved === undefined) break
      expect(moved.length).toBeLessThanOrEqual(2)
    }
    const now = readSolution(solved)
    const afresh = solveFleet(fleet)
    expect(used({ ...fleet, limits: fleet.limits }, now.choice).value).toBe(now.value)
    expect(now.powerMw).toBeLessThanOrEqual(fleet.limits.powerMw)
    expect([...solved.ledger.siteRoom].every((room) => room >= 0)).toBe(true)
    expect(now.bound).toBeGreaterThanOrEqual(afresh.value)
    expect((afresh.value - now.value) / afresh.value).toBeLessThan(0.02)
  })
})

describe('solveAgain()', () => {
  test('has under other limits the bound of a fleet that is solved anew, and keeps every limit', () => {
    const fleet = makeSampleFleet({ slots: 400, perSite: 20, seed: 4, perGateway: 5, hasCarbon: true })
    let solved = solveTables(makeTables(fleet))
    for (const share of [0.97, 1.05, 0.8, 1.3, 1]) {
      const { limits } = fleet
      const moved = {
        ...limits,
        siteRateBps: limits.siteRateBps.map((rate) => Math.floor(share * rate)),
        gatewayRateBps: limits.gatewayRateBps.map((rate) => Math.floor(rate * (2 - share))),
        powerMw: Math.floor(share * limits.powerMw),
        carbonUgPerH: Math.floor(share * limits.carbonUgPerH),
      }
      solved = solveAgain(solved, moved)
      const again = readSolution(solved)
      const anew = solveFleet({ ...fleet, limits: moved })
      expect(Math.abs(again.bound - anew.bound)).toBeLessThan(1e-6 * anew.bound)
      expect(again.value).toBeLessThanOrEqual(again.integerBound + 1)
      expect(again.isFleetKept).toBe(anew.isFleetKept)
      expect(again.stuckSites).toEqual(anew.stuckSites)
      expect(solved.ledger.powerRoom).toBeGreaterThanOrEqual(0)
      expect(solved.ledger.carbonRoom).toBeGreaterThanOrEqual(0)
    }
  })
})

describe('Relaxer', () => {
  test('says exactly the same of the same prices, whatever it was asked before', () => {
    const tables = makeTables(makeSampleFleet({ slots: 600, perSite: 30, seed: 5, hasCarbon: true }))
    const asked = new Relaxer(tables)
    for (const [mu, nu] of [
      [40, 0],
      [10, 0],
      [24, 0.02],
      [23, 0.02],
      [23.2, 0.02],
    ] as const) {
      const { siteValue, sitePower, siteCarbon } = asked.sweep(mu, nu)
      const fresh = new Relaxer(tables)
      expect({ siteValue, sitePower, siteCarbon }).toEqual(
        (({ siteValue, sitePower, siteCarbon }) => ({ siteValue, sitePower, siteCarbon }))(fresh.sweep(mu, nu)),
      )
      expect(asked.lambda).toEqual(fresh.lambda)
      expect(asked.taken).toEqual(fresh.taken)
    }
  })
})

describe('makeTables()', () => {
  test('in the room of other tables, or with all options kept, leads to the same bound and a plan as good', () => {
    const [before, fleet] = [1, 2].map((seed) => makeSampleFleet({ slots: 300, perSite: 30, seed })) as [
      FleetColumns,
      FleetColumns,
    ]
    const anew = solveFleet(fleet)
    const larger = makeTables(makeSampleFleet({ slots: 400, perSite: 30, seed: 3 }))
    const inRoom = readSolution(solveTables(makeTables(fleet, { room: larger })))
    expect(inRoom.choice).toEqual(anew.choice)
    const inLittleRoom = readSolution(solveTables(makeTables(fleet, { room: makeTables(before, {}) })))
    expect(inLittleRoom.choice).toEqual(anew.choice)
    const unpruned = readSolution(solveTables(makeTables(fleet, { isPruned: false })))
    expect(Math.abs(unpruned.bound - anew.bound)).toBeLessThan(2e-7 * anew.bound)
    expect((anew.value - unpruned.value) / anew.value).toBeLessThan(5e-4)
  })

  test('with all options kept, in the room of fleet after fleet, has the bound of pruned ones', () => {
    let tables: Tables | undefined
    let relaxer: Relaxer | undefined
    let feasible = 0
    fc.assert(
      fc.property(fleetArbitrary, (fleet) => {
        const pruned = makeTables(fleet)
        const expected = findFleetPrices(pruned, new Relaxer(pruned))
        tables = makeTables(fleet, { isPruned: false, room: tables })
        relaxer = new Relaxer(tables, relaxer)
        const found = findFleetPrices(tables, relaxer)
        expect(found.isFeasible).toBe(expected.isFeasible)
        expect(tables.isStuck).toEqual(pruned.isStuck)
        if (!expected.isFeasible) return
        feasible++
        expect(Math.abs(found.bound - expected.bound)).toBeLessThanOrEqual(1e-6 * Math.max(1000, expected.bound))
      }),
      { numRuns: 300, seed: 13 },
    )
    expect(feasible).toBeGreaterThan(100)
  })
})
