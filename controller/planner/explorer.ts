import { configurationId } from '@espalier/shared/configuration'
import { chooseProbe, type ProbeCandidate } from '../estimate/choose-probe.ts'
import { UNTRIED } from '../estimate/factor.ts'
import { START_LATENCY_K } from '../estimate/latency-bound.ts'
import { keysOf } from '../estimate/slot-estimate.ts'
import { toRung } from '../plan/ladder.ts'
import { allowedOptions, listOptions, type Option, type SlotInput } from '../plan/option.ts'
import type { Plan, PlannedSlot } from '../plan/plan-fleet.ts'
import { shownQuality } from '../plan/quality.ts'

/** Long enough for twenty readings after a warm-up. */
const PROBE_MS = 45_000
/** Of one device. */
const PAUSE_MS = 3_600_000
/** Of the fleet's utility over time that probes may cost, and the time after which what was not used lapses. */
const SHARE = 0.001
const SAVED_MS = 24 * 3_600_000
/** Warming another variant loses about so much of its utility. */
const RELOAD_S = 3
/** Slots that are looked at in one plan: listing options is most of what a plan costs. */
const LOOKED_AT = 4

interface Running {
  readonly id: string
  readonly key: string
  readonly untilMs: number
  readonly why: string
  /** What the plan had chosen before: staying near that is what is worth something. */
  readonly planned: SlotInput['planned']
}

function candidatesOf(input: SlotInput, chosen: Option): ProbeCandidate[] {
  const { estimate, peers } = input
  const { latency } = estimate
  return allowedOptions(listOptions(input)).allowed.flatMap((option) => {
    const { work } = keysOf(option.configuration)
    const residual = latency.residuals[work] ?? peers?.latency[work] ?? UNTRIED
    const candidate = { ...option, untriedVariance: residual.variance, noise: latency.common.noise }
    return option.id === chosen.id ? [] : [candidate]
  })
}

/**
 * Tries configurations that never ran, one slot at a time, so that what they cost is known before it matters. Only within
 * the slot's own lease, only what its bounds allow, at most one an hour and device, and for at most a thousandth of the
 * fleet's utility; each says in `why` what it is.
 */
export class Explorer {
  #running: Running | undefined
  #saved = 0
  #atMs: number | undefined
  #next = 0
  #started = 0
  readonly #lastMs = new Map<string, number>()

  /** Probes since the start. */
  get count(): number {
    return this.#started
  }

  /** What the slot's plan stays near, if it is being probed. */
  plannedOf(key: string): SlotInput['planned'] {
    return this.#running?.key === key ? this.#running.planned : undefined
  }

  /** The plan with the probe that runs now, or with one that begins. */
  apply(plan: Plan, nowMs: number): Plan {
    const elapsedMs = nowMs - (this.#atMs ?? nowMs)
    this.#atMs = nowMs
    const perMs = (SHARE * plan.value) / 1000
    this.#saved = Math.min(perMs * SAVED_MS, this.#saved + perMs * elapsedMs)
    if (this.#running !== undefined && nowMs >= this.#running.untilMs) this.#running = undefined
    if (this.#running === undefined) this.#begin(plan, nowMs)
    const running = this.#running
    if (running === undefined) return plan
    return { ...plan, slots: plan.slots.map((slot) => (slot.input.key === running.key ? probed(slot, running) : slot)) }
  }

  #begin(plan: Plan, nowMs: number): void {
    const { slots } = plan
    for (let k = 0; k < Math.min(LOOKED_AT, slots.length); k++) {
      const slot = slots[this.#next++ % slots.length]!
      const { key } = slot.input
      const device = key.split('/')[0]!
      if (nowMs - (this.#lastMs.get(device) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS) continue
      // Not even the reload could be paid for: options need not be listed.
      const reload = RELOAD_S * slot.chosen.merit
      if (this.#saved < reload) continue
      const probe = chooseProbe(slot.chosen, candidatesOf(slot.input, slot.chosen), {
        ...slot.lease,
        sigmas: slot.input.latencyK ?? START_LATENCY_K,
        mostLoss: (this.#saved - reload) / (PROBE_MS / 1000),
      })
      if (probe === undefined) continue
      this.#saved -= reload + (probe.loss * PROBE_MS) / 1000
      this.#lastMs.set(device, nowMs)
      this.#started++
      this.#running = {
        id: probe.id,
        key,
        untilMs: nowMs + PROBE_MS,
        planned: slot.chosen.configuration,
        why: `runs for ${PROBE_MS / 1000} s to learn what it costs here, which is known to ${(100 * Math.sqrt(probe.untriedVariance)).toFixed(0)} %; it fits the lease, and costs ${probe.loss.toPrecision(2)} utility meanwhile`,
      }
      return
    }
  }
}

/** The probe in front, what the plan chose as the first rung below it; lease and prices stay. */
function probed(slot: PlannedSlot, { id, why }: Running): PlannedSlot {
  const option = allowedOptions(listOptions(slot.input)).allowed.find((o) => o.id === id)
  // What is believed of it may have changed since: then the plan holds.
  if (option === undefined || option.id === slot.chosen.id) return slot
  const { rateBps, powerW, latencyS } = option.prediction
  const below = slot.ladder.filter(
    (rung) => rung.rateBps <= rateBps && rung.powerW <= powerW && configurationId(rung.configuration) !== id,
  )
  return {
    ...slot,
    chosen: option,
    allowed: slot.allowed.some((o) => o.id === id) ? slot.allowed : [...slot.allowed, option],
    ladder: [toRung(option), ...below],
    why: {
      ...slot.why,
      chosen: id,
      runnerUp: slot.chosen.id,
      probe: why,
      predicted: { rateBps, powerW, latencyMs: latencyS * 1000, ...shownQuality(option.prediction) },
    },
  }
}
