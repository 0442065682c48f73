import { type Configuration, configurationId, isSameGraph } from '../configuration.ts'
import type { CapsuleSlot } from '../messages/capsule.ts'
import { DEADLINE_SHARE } from './deadline.ts'

/** What a device knows of itself and its surroundings when it must choose alone. */
export interface Conditions {
  /** Seconds since there was a controller; undefined: nobody can know, e.g. after a reboot without a clock. */
  readonly ageS: number | undefined
  /** Measured over predicted, > 0: bits a frame (content), watts, seconds a frame (throttling, other programs). */
  readonly rateFactor: number
  readonly powerFactor: number
  readonly slowdown: number
  /** How far the chip is from where it throttles: 1 cool, 0 there. Absent: no sensor. */
  readonly thermalHeadroom?: number | undefined
  /** What is left of a battery that is not charging: 1 enough, 0 nearly empty. Absent: mains. */
  readonly batteryHeadroom?: number | undefined
  /** What was chosen last, by id, and what runs, which a brake may have left it for: staying is worth a little. */
  readonly chosen?: string | undefined
  readonly runs?: Configuration | undefined
}

/** Prices are taken as they are this long, and then as if everything became scarcer by one per cent a minute. */
const FRESH_S = 600
const SCARCER_PER_S = 0.01 / 60
/** Staying with a graph is worth this share of the best rung's utility; staying with the very configuration a little more. */
const SAME_GRAPH_BONUS = 0.02
const SAME_CONFIGURATION_BONUS = 0.01
/**
 * What was chosen and runs may be this much over a limit before it is left for being over it: limits are measured, and
 * noisy. Another graph has to be this far below: changing costs, and changing back soon costs twice.
 */
const STAYING_SLACK = 1.03
const ENTERING_SHARE = 0.95

/** How much dearer everything is taken to be because the prices are old. @returns At least 1. */
export function scarcityAt(ageS: number): number {
  return 1 + SCARCER_PER_S * Math.max(0, ageS - FRESH_S)
}

/** Watts that may be drawn: the lease, and between floor and best rung what heat and battery leave. */
function powerLimitW({ ladder, lease }: CapsuleSlot, conditions: Conditions): number {
  const leaseW = lease.powerW ?? Number.POSITIVE_INFINITY
  const headroom = Math.min(conditions.thermalHeadroom ?? 1, conditions.batteryHeadroom ?? 1)
  if (headroom >= 1) return leaseW
  const watts = ladder.map(({ powerW }) => powerW)
  const [least, most] = [Math.min(...watts), Math.max(...watts)]
  return Math.min(leaseW, (least + Math.max(0, headroom) * (most - least)) * conditions.powerFactor)
}

/**
 * Choose what a slot runs when the controller is out of reach: of the rungs that keep lease, deadline, heat and battery, the
 * one with the most utility. Within its lease nobody else can use what a device leaves, so prices say nothing until they are
 * old; from then on the part by which things may have become scarcer is paid for at the capsule's prices. Pure: controller and
 * device give the same answer to the same question.
 *
 * @returns Position in `capsule.ladder`; the last (the safe floor) once the capsule has ended, if its age is not known, or
 *   if nothing else keeps the limits.
 * @see docs/offline.md
 */
export function chooseRung(capsule: CapsuleSlot, validS: number, conditions: Conditions): number {
  const { ladder, lease, prices } = capsule
  const floor = ladder.length - 1
  const { ageS, rateFactor, powerFactor, slowdown } = conditions
  if (ageS === undefined || ageS >= validS) return floor
  const limitW = powerLimitW(capsule, conditions)
  const limitBps = lease.rateBps ?? Number.POSITIVE_INFINITY
  const scarcity = scarcityAt(ageS)
  const chosen = ladder.find(({ configuration }) => configurationId(configuration) === conditions.chosen)
  const runs = conditions.runs ?? chosen?.configuration
  const bestUtility = Math.max(...ladder.map(({ utility }) => utility))
  let best: { rung: number; worth: number } | undefined
  for (const [i, rung] of ladder.entries()) {
    const rateBps = rung.rateBps * rateFactor
    const powerW = rung.powerW * powerFactor
    const isSame = isSameGraph(rung.configuration, runs)
    const slack = rung === chosen && isSame ? STAYING_SLACK : 1
    const share = runs === undefined || isSame ? slack : ENTERING_SHARE
    const isOver = rateBps > share * limitBps || powerW > share * limitW
    const intervalMs = 1000 / rung.configuration.frameRate
    const isLate = (rung.latencyMs ?? 0) * slowdown > slack * DEADLINE_SHARE * intervalMs
    if (isOver || isLate) continue
    const bonus =
      bestUtility * ((isSame ? SAME_GRAPH_BONUS : 0) + (rung === chosen && isSame ? SAME_CONFIGURATION_BONUS : 0))
    // Whole millionths, so that no rounding of a sum decides; the better rung, which comes first, wins a tie.
    const worth = Math.round(
      1e6 * (rung.utility + bonus - (scarcity - 1) * (prices.lambda * rateBps + prices.mu * powerW)),
    )
    if (best === undefined || worth > best.worth) best = { rung: i, worth }
  }
  return best?.rung ?? floor
}
