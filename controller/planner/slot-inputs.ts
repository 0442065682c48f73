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
      // What a classifier gains by more frames or another variant has no utility yet: it keeps what it runs.
      if (manifest?.task !== 'image-codec') return []
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

/** What a slot's options depend on; gateway and grid only price them. */
const isSame = (a: SlotInput, b: SlotInput): boolean =>
  a.birth === b.birth &&
  a.manifest === b.manifest &&
  a.estimate === b.estimate &&
  a.peers === b.peers &&
  a.latencyK === b.latencyK &&
  a.planned === b.planned &&
  a.maxPowerW === b.maxPowerW

/** Prepare slots, those that did not change since the last time not again. */
export class SlotCache {
  #known = new Map<string, Prepared>()

  prepare(inputs: readonly SlotInput[]): Prepared[] {
    const prepared = inputs.map((input) => {
      const known = this.#known.get(input.key)
      return known !== undefined && isSame(known.input, input) ? { ...known, input } : prepareSlot(input)
    })
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
