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

const isSame = (a: SlotInput, b: SlotInput): boolean =>
  isSamePlace(a, b) && a.estimate === b.estimate && a.peers === b.peers && a.latencyK === b.latencyK

/**
 * Estimates move with every message, a little. So many slots are prepared again in one plan for that alone, in turn: with a
 * plan every two seconds no slot of 10,000 is planned by what was believed more than eight seconds ago, within the ten that
 * budgets are kept over.
 */
const REFRESHED = 2500

/** Prepare slots, those that did not change since the last time not again. */
export class SlotCache {
  #known = new Map<string, Prepared>()
  #turn = 0

  prepare(inputs: readonly SlotInput[]): Prepared[] {
    const before = this.#known
    const prepared: Prepared[] = new Array(inputs.length)
    const count = inputs.length
    const from = count === 0 ? 0 : this.#turn % count
    let refreshed = 0
    for (let k = 0; k < count; k++) {
      const i = (from + k) % count
      const input = inputs[i]!
      const known = before.get(input.key)
      if (known === undefined || !isSamePlace(known.input, input)) prepared[i] = prepareSlot(input)
      else if (isSame(known.input, input)) prepared[i] = { ...known, input }
      else if (refreshed < REFRESHED) {
        refreshed++
        this.#turn = i + 1
        prepared[i] = prepareSlot(input)
      } else {
        const { estimate, peers, latencyK } = known.input
        prepared[i] = { ...known, input: { ...input, estimate, peers, latencyK } }
      }
    }
    this.#known = new Map(prepared.map((slot) => [slot.input.key, slot]))
    return prepared
  }
}

/** The same slots where the budgets say something else of their place. */
export function withFacts(slots: readonly Prepared[], factsOf: (input: SlotInput) => SlotFacts): Prepared[] {
  return slots.map((slot) => {
    const { gateway: _, carbonGPerKwh: __, maxPowerW: ___, ...rest } = slot.input
    const input: SlotInput = { ...rest, ...factsOf(slot.input) }
    return isSame(slot.input, input) ? { ...slot, input } : prepareSlot(input)
  })
}
