import type { Rung } from '@espalier/shared/messages/controller'
import { toRung } from '../plan/ladder.ts'
import type { Option } from '../plan/option.ts'
import { compareIds, upperHull } from '../plan/site.ts'

const MAX_RUNGS = 12

/**
 * What prices could choose for a slot, best first: the upper hull of (cost, merit), where a rung costs the sum of its
 * rate and power relative to the chosen ones, between the safe floor and the best. Unlike the desired state's ladder it
 * also holds what is above the choice: content may become easier while nobody answers.
 *
 * @param allowed Keeps deadline and floor; at least one.
 */
export function makeCapsuleLadder(chosen: Option, allowed: readonly Option[]): Rung[] {
  const cost = (o: Option) => o.rateBps / Math.max(1, chosen.rateBps) + o.powerMw / Math.max(1, chosen.powerMw)
  const choices = allowed.map((option) => ({ option, rateBps: cost(option) }))
  const byCost = choices
    .map((_, i) => i)
    .sort(
      (a, b) => choices[a]!.rateBps - choices[b]!.rateBps || compareIds(choices[a]!.option.id, choices[b]!.option.id),
    )
  const hull = upperHull(choices, byCost, ({ option }) => option.merit).map((i) => choices[i]!.option)
  const rungs = hull.some(({ id }) => id === chosen.id) ? hull : [...hull, chosen]
  const bestFirst = rungs.toSorted((a, b) => b.merit - a.merit || compareIds(a.id, b.id))
  return thin(bestFirst, chosen).map(toRung)
}

/** At most so many: the ends, the choice, and the others evenly. */
function thin(rungs: readonly Option[], chosen: Option): readonly Option[] {
  if (rungs.length <= MAX_RUNGS) return rungs
  const others = rungs.slice(1, -1).filter(({ id }) => id !== chosen.id)
  const room = MAX_RUNGS - 3
  const kept = new Set(Array.from({ length: room }, (_, i) => others[Math.floor((i * others.length) / room)]!.id))
  return rungs.filter(({ id }, i) => i === 0 || i === rungs.length - 1 || id === chosen.id || kept.has(id))
}
