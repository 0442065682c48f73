import { type Families, familyOf } from '../families.ts'
import type { Beliefs } from '../ingest/beliefs.ts'
import type { DeviceRecord } from '../ingest/fleet.ts'
import type { SlotInput } from '../plan/option.ts'
import { type Prepared, prepareSlot } from '../plan/prepare.ts'
import { type Budgets, type SlotFacts, slotFacts } from './fleet-limits.ts'

export interface InputSources {
  readonly families: Families
  readonly beliefs: Pick<Beliefs, 'of'>
  readonly budgets: Budgets
  /** What a slot stays near, in place of what it was told. */
  readonly plannedOf: (key: string) => SlotInput['planned']
}

/** Slots of the devices that can be planned; each device has a birth. */
export function listInputs(
  devices: readonly DeviceRecord[],
  { families, beliefs, budgets, plannedOf }: InputSources,
): SlotInput[] {
  return devices.flatMap((device) => {
    const { site, slots } = device.birth!
    return slots.flatMap((birth): SlotInput[] => {
      const manifest = familyOf(families, device, birth)?.manifest
      if (manifest === undefined) return []
      const key = `${device.id}/${birth.slot}`
      return [
        {
          key,
          site,
          birth,
          manifest,
          ...beliefs.of(device, birth),
          planned:
            plannedOf(key) ?? device.desired?.slots.find(({ slot }) => slot === birth.slot)?.ladder[0]?.configuration,
          ...slotFacts(budgets, device.id, site, slots.length),
        },
      ]
    })
  })
}

/** What a slot's options depend on beside what was learned; gateway and grid only price them. */
const isSamePlace = (a: SlotInput, b: SlotInput): boolean =>
  a.birth === b.birth && a.manifest === b.manifest && a.planned === b.planned && a.maxPowerW === b.maxPowerW

const isSamePrice = (a: SlotInput, b: SlotInput): boolean =>
  a.site === b.site && a.gateway === b.gateway && a.carbonGPerKwh === b.carbonGPerKwh

/** The bound on latency moves with every message of the whole fleet: by so many deviations it may be off for a slot. */
const LATENCY_K_STEP = 0.02

const isSame = (a: SlotInput, b: SlotInput): boolean =>
  isSamePlace(a, b) &&
  a.estimate === b.estimate &&
  a.peers === b.peers &&
  (a.latencyK === b.latencyK || Math.abs((a.latencyK ?? 0) - (b.latencyK ?? 0)) < LATENCY_K_STEP)

/**
 * Estimates move with every message, a little. So many slots are prepared again in one plan for that alone, in turn: with a
 * plan every two seconds no slot of 10,000 is planned by what was believed more than eight seconds ago, within the ten that
 * budgets are kept over.
 */
const REFRESHED = 2500

/** Prepare slots, those that did not change since the last time not again. */
export class SlotCache {
  readonly #known = new Map<string, Prepared>()
  #turn = 0

  prepare(inputs: readonly SlotInput[]): Prepared[] {
    const prepared: Prepared[] = new Array(inputs.length)
    const count = inputs.length
    const from = count === 0 ? 0 : this.#turn % count
    let refreshed = 0
    for (let k = 0; k < count; k++) {
      const i = (from + k) % count
      const input = inputs[i]!
      const known = this.#known.get(input.key)
      let slot = known
      if (known === undefined || !isSamePlace(known.input, input)) slot = prepareSlot(input)
      else if (isSame(known.input, input))
        slot = isSamePrice(known.input, input) ? known : known.with({ ...input, latencyK: known.input.latencyK })
      else if (refreshed < REFRESHED) {
        refreshed++
        this.#turn = i + 1
        slot = prepareSlot(input)
      } else {
        const { estimate, peers, latencyK } = known.input
        slot = known.with({ ...input, estimate, peers, latencyK })
      }
      if (slot !== known) this.#known.set(input.key, slot!)
      prepared[i] = slot!
    }
    if (this.#known.size > count) this.#forgetAllBut(prepared)
    return prepared
  }

  #forgetAllBut(prepared: readonly Prepared[]): void {
    this.#known.clear()
    for (const slot of prepared) this.#known.set(slot.input.key, slot)
  }
}

/** The same slots where the budgets say something else of their place. */
export function withFacts(slots: readonly Prepared[], factsOf: (input: SlotInput) => SlotFacts): Prepared[] {
  return slots.map((slot) => {
    const { gateway: _, carbonGPerKwh: __, maxPowerW: ___, ...rest } = slot.input
    const input: SlotInput = { ...rest, ...factsOf(slot.input) }
    return isSame(slot.input, input) ? slot.with(input) : prepareSlot(input)
  })
}
