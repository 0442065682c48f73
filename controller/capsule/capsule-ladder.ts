import { compareIds } from '@espalier/shared/ladder/compare-ids'
import type { Rung } from '@espalier/shared/messages/controller'
import { costBeside, isSameRuntime, toRung } from '../plan/ladder.ts'
import type { Option } from '../plan/option.ts'

/**
 * About 12 kB. Fewer leave steps that are too large for what a lease allows: on 8 devices cut off for half an hour, 24 cost
 * 4 % of utility, the hull of 12 more (`npm run -s bench -- offline`).
 */
const MAX_RUNGS = 60
/** Content may become easier while nobody answers; what needs this much more than is planned now stays out of reach. */
const REACH = 1.6

/** Whether `other` asks for no more of anything and gives no less; of equals the first by id stays. */
function isDominated(option: Option, other: Option): boolean {
  const isNoWorse =
    other.rateBps <= option.rateBps &&
    other.powerMw <= option.powerMw &&
    other.merit >= option.merit &&
    other !== option
  const isEqual = other.rateBps === option.rateBps && other.powerMw === option.powerMw && other.merit === option.merit
  return isNoWorse && (!isEqual || compareIds(other.id, option.id) < 0)
}

/**
 * What a slot could sensibly run within any lease near the present plan, best first: the options that no other beats in
 * rate, power and merit at once, down to the safe floor, which asks for the least of both together. Unlike the desired
 * state's ladder it also holds what is above the choice.
 *
 * @param all Keep deadline and floor; the choice is one of them.
 */
export function makeCapsuleLadder(chosen: Option, all: readonly Option[]): Rung[] {
  const allowed = all.filter((o) => isSameRuntime(o, chosen))
  const cost = (o: Option): number => costBeside(chosen, o)
  const floor = allowed.reduce((a, b) => ((cost(b) - cost(a) || compareIds(b.id, a.id)) < 0 ? b : a))
  const isInReach = (o: Option) => o.rateBps <= REACH * chosen.rateBps && o.powerMw <= REACH * chosen.powerMw
  const sensible = allowed
    .filter((o) => o !== floor && (isInReach(o) || o.id === chosen.id))
    .filter((o, _, all) => o.id === chosen.id || all.every((other) => !isDominated(o, other)))
    .toSorted((a, b) => b.merit - a.merit || compareIds(a.id, b.id))
  return [...thin(sensible, chosen), floor].map(toRung).map(rounded)
}

/** What digits beyond these say is noise, and bytes are paid for. */
function rounded({ configuration, rateBps, powerW, utility, latencyMs }: Rung): Rung {
  const to = (value: number, digits: number): number => Math.round(value * 10 ** digits) / 10 ** digits
  return {
    configuration,
    rateBps: to(rateBps, 0),
    powerW: to(powerW, 3),
    utility: to(utility, 6),
    ...(latencyMs === undefined ? {} : { latencyMs: to(latencyMs, 1) }),
  }
}

/** At most so many: the choice, and the others evenly. */
function thin(rungs: readonly Option[], chosen: Option): readonly Option[] {
  const room = MAX_RUNGS - 2
  if (rungs.length <= room) return rungs
  const kept = new Set(Array.from({ length: room }, (_, i) => rungs[Math.floor((i * rungs.length) / room)]!.id))
  return rungs.filter(({ id }) => id === chosen.id || kept.has(id))
}
