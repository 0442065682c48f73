import { configurationId } from '@espalier/shared/configuration'
import type { SlotId } from '@espalier/shared/ids'
import { type Conditions, chooseRung } from '@espalier/shared/ladder/choose-rung'
import { ladderFrom } from '@espalier/shared/ladder/ladder-from'
import type { CapsuleSlot } from '@espalier/shared/messages/capsule'
import type { Plan } from '../governor/governor.ts'
import { planOf } from '../governor/plan-of.ts'
import type { CapsuleKeeper } from './capsule-keeper.ts'

export type SlotConditions = Omit<Conditions, 'ageS' | 'chosen'>

/** Follows the capsule, slot by slot, while there is nobody else to follow. */
export class Autonomy {
  readonly #keeper: Pick<CapsuleKeeper, 'capsule' | 'ageS'>
  readonly #isRunnable: (slot: CapsuleSlot) => boolean
  /** Of each slot, what was chosen last: id of the rung and generation of the capsule. */
  readonly #chosen = new Map<SlotId, { readonly id: string; readonly gen: number }>()

  constructor(keeper: Pick<CapsuleKeeper, 'capsule' | 'ageS'>, isRunnable: (slot: CapsuleSlot) => boolean) {
    this.#keeper = keeper
    this.#isRunnable = isRunnable
  }

  /**
   * What a slot should run from now on.
   *
   * @returns Undefined: go on as it is; there is no capsule for the slot, or it says the same as before.
   */
  planFor(slot: SlotId, conditions: SlotConditions): Plan | undefined {
    const { capsule, ageS } = this.#keeper
    const found = capsule?.slots.find((each) => each.slot === slot)
    if (capsule === undefined || found === undefined || !this.#isRunnable(found)) return undefined
    const last = this.#chosen.get(slot)
    const rung = chooseRung(found, capsule.validS, { ...conditions, ageS, chosen: last?.id })
    const id = configurationId(found.ladder[rung]!.configuration)
    if (last?.id === id && last.gen === capsule.gen) return undefined
    this.#chosen.set(slot, { id, gen: capsule.gen })
    return planOf({ ladder: ladderFrom(found, rung), figures: found.ladder, lease: found.lease })
  }

  /** The controller is back: what was chosen alone is forgotten. */
  end(): void {
    this.#chosen.clear()
  }
}
