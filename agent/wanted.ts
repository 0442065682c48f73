import type { SlotId } from '@espalier/shared/ids'
import type { Family } from '@espalier/shared/manifest/open-family'
import type { Desired, Rung } from '@espalier/shared/messages/controller'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { Plan } from './governor/governor.ts'
import { planOf } from './governor/plan-of.ts'
import type { AllSlots } from './slot/slot-parts.ts'
import type { DesiredSlot, Twin } from './twin/twin.ts'

/** What the controller wants of each slot, as far as this device can do it. */
export class Wanted {
  readonly #twin: Twin
  readonly #slots: AllSlots
  readonly #onEvent: (event: DeviceEvent) => void

  constructor(twin: Twin, slots: AllSlots, onEvent: (event: DeviceEvent) => void) {
    this.#twin = twin
    this.#slots = slots
    this.#onEvent = onEvent
  }

  /** What is wanted of a slot while it runs a version; undefined: nobody has said yet. */
  planFor(slot: SlotId, { manifest, manifestDigest }: Family): Plan | undefined {
    const ability = this.#slots.get(slot)?.ability
    const held = this.#twin.planFor(slot, manifestDigest, (plan) => ability?.refusalOf(plan, manifest) === undefined)
    if (held !== undefined) return planOf(held)
    const lease = this.#twin.leaseOf(slot)
    return lease && ability && planOf({ ...ability.defaultPlan(manifest), lease })
  }

  /** Go on with what was wanted before this start. */
  resume(id: SlotId): void {
    const { slot, updates, ability } = this.#slots.get(id)!
    const { manifest, manifestDigest } = updates.family
    const held = this.#twin.planFor(id, manifestDigest, () => true)
    const refusal = held && ability.refusalOf(held, manifest)
    if (refusal !== undefined) slot.refuse(refusal)
    else updates.refresh()
  }

  /**
   * Why this device cannot run a ladder; undefined: it can.
   *
   * @param family A version of the slot's; absent: the one that runs.
   */
  refusalOf(slot: SlotId, ladder: readonly Rung[], family?: Family): string | undefined {
    const { updates, ability } = this.#slots.get(slot) ?? {}
    if (updates === undefined || ability === undefined) return 'this device has no such slot'
    return ability.refusalOf({ ladder }, (family ?? updates.family).manifest)
  }

  /** Take up a desired state; an older one than is held is not looked at. */
  receive(desired: Desired): void {
    if (desired.gen < this.#twin.state.gen) return
    const tagged = { ...desired, slots: desired.slots.map((wanted) => this.#tagVersion(wanted)) }
    const refusalOf = ({ slot, ladder }: DesiredSlot): string | undefined =>
      this.refusalOf(slot, ladder, this.#versionFor(slot, ladder))
    const isNewer = this.#twin.supersede(
      tagged,
      (wanted) => refusalOf(wanted) === undefined,
      (held) => this.#isCounted(held),
    )
    for (const wanted of tagged.slots) {
      const refusal = refusalOf(wanted)
      const { slot, updates } = this.#slots.get(wanted.slot) ?? {}
      if (refusal !== undefined) slot?.refuse(refusal)
      // The limits are for whatever runs, also where the ladder is not.
      else if (isNewer) updates?.refresh()
      if (refusal !== undefined && isNewer)
        this.#onEvent({
          kind: 'desired-refused',
          slot: wanted.slot,
          message: `Cannot run generation ${desired.gen}: ${refusal}`.slice(0, 1000),
        })
    }
    for (const { slot, family } of desired.slots) this.#slots.get(slot)?.updates.order(family)
  }

  /** A ladder is for the version that is committed here when it comes, whatever other is ordered with it. */
  #tagVersion(wanted: DesiredSlot): DesiredSlot {
    const version = this.#versionFor(wanted.slot, wanted.ladder)
    return version === undefined ? wanted : { ...wanted, family: { manifestDigest: version.manifestDigest } }
  }

  /** The controller hears of a version that is on trial: a ladder that only that one can run is for it. */
  #versionFor(slot: SlotId, ladder: readonly Rung[]): Family | undefined {
    const updates = this.#slots.get(slot)?.updates
    if (updates === undefined) return undefined
    const { committed, family } = updates
    const canRun = (version: Family): boolean => this.refusalOf(slot, ladder, version) === undefined
    return !canRun(committed) && canRun(family) ? family : committed
  }

  /** Plans of versions that are neither here nor on their way are let go. */
  #isCounted({ slot, family }: DesiredSlot): boolean {
    const updates = this.#slots.get(slot)?.updates
    return family === undefined || updates === undefined || updates.pinned().includes(family.manifestDigest)
  }
}
