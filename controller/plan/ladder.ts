import { compareIds } from '@espalier/shared/ladder/compare-ids'
import { upperHull } from '@espalier/shared/ladder/upper-hull'
import type { Rung } from '@espalier/shared/messages/controller'
import type { Option } from './option.ts'

const MAX_RUNGS = 12

export function toRung({ configuration, prediction, merit }: Option): Rung {
  const { rateBps, powerW, latencyS } = prediction
  return { configuration, rateBps, powerW, utility: merit, latencyMs: latencyS * 1000 }
}

/** What an option takes: the sum of its rate and power, each relative to that of the choice. */
export const costBeside = (chosen: Option, { rateBps, powerMw }: Option): number =>
  rateBps / Math.max(1, chosen.rateBps) + powerMw / Math.max(1, chosen.powerMw)

/** Whether it asks for less of one and no more of the other: of classifiers all rates may be the same. */
const asksLess = (a: Option, b: Option): boolean =>
  a.rateBps <= b.rateBps && a.powerMw <= b.powerMw && (a.rateBps < b.rateBps || a.powerMw < b.powerMw)

/** A device goes to and fro on a ladder between two frames, which a change of process cannot. */
export const isSameRuntime = (a: Option, b: Option): boolean =>
  a.configuration.backend === b.configuration.backend && a.configuration.threads === b.configuration.threads

/**
 * What a device may run by itself: the chosen option, then the best ones for ever less rate and power. The
 * rungs are the upper hull of (cost, merit): what prices risen in proportion would choose.
 */
export function makeLadder(chosen: Option, allowed: readonly Option[]): Rung[] {
  const below = allowed.filter((o) => asksLess(o, chosen) && o.merit <= chosen.merit && isSameRuntime(o, chosen))
  const choices = [...below, chosen].map((option) => ({ option, rateBps: costBeside(chosen, option) }))
  const byCost = choices
    .map((_, i) => i)
    .sort(
      (a, b) => choices[a]!.rateBps - choices[b]!.rateBps || compareIds(choices[a]!.option.id, choices[b]!.option.id),
    )
  const hull = upperHull(choices, byCost, ({ option }) => option.merit)
  const rungs: Option[] = [chosen]
  for (const i of hull.toReversed()) {
    const { option } = choices[i]!
    const last = rungs.at(-1)!
    // Each rung asks for no more of either than the one before it.
    if (option !== chosen && asksLess(option, last)) rungs.push(option)
  }
  const floor = rungs.at(-1)!
  return [...rungs.slice(0, MAX_RUNGS - 1), ...(rungs.length >= MAX_RUNGS ? [floor] : [])].map(toRung)
}
