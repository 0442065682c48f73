import type { Choice, Problem } from '../plan/problem.ts'
import { solve } from '../plan/solve.ts'
import type { SimFleet } from './fleet.ts'

/** A device's options as a policy believes them to be. `choices[k]` is option `options[k]`. */
export interface DeviceTable {
  readonly options: readonly number[]
  readonly choices: readonly Choice[]
}

/** @param worth Utility with the weight and bonuses for staying. */
export function makeChoice(
  id: string,
  believed: { rateBps: number; rateSigmaBps: number; powerW: number; powerSigmaW: number; worth: number },
): Choice {
  return {
    id,
    rateBps: Math.ceil(believed.rateBps),
    rateSigmaBps: Math.ceil(believed.rateSigmaBps),
    powerMw: Math.ceil(believed.powerW * 1000),
    powerSigmaMw: Math.ceil(believed.powerSigmaW * 1000),
    utility: Math.round(believed.worth * 1e6),
  }
}

/** The planner's solution for the devices that can be told. */
export function solveTables(
  fleet: SimFleet,
  tables: ReadonlyMap<number, DeviceTable>,
  limits: { siteBps: readonly number[]; powerW: number },
): { chosen: Map<number, number>; picked: Map<number, Choice> } {
  const members = [...tables.keys()]
  const problem: Problem = {
    slots: members.map((i) => ({
      key: fleet.devices[i]!.id,
      site: fleet.sites[fleet.devices[i]!.site]!.id,
      choices: tables.get(i)!.choices,
    })),
    siteRateBps: new Map(fleet.sites.map(({ id }, s) => [id, Math.max(0, Math.floor(limits.siteBps[s]!))])),
    fleetPowerMw: Math.max(0, Math.floor(limits.powerW * 1000)),
  }
  const solution = solve(problem)
  const chosen = new Map<number, number>()
  const picked = new Map<number, Choice>()
  for (const [k, i] of members.entries()) {
    const c = solution.chosen[k]!
    chosen.set(i, tables.get(i)!.options[c]!)
    picked.set(i, tables.get(i)!.choices[c]!)
  }
  return { chosen, picked }
}
