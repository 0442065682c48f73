import type { SlotId } from '@espalier/shared/ids'
import type { WorkerSupervisor } from '../supervisor/worker-supervisor.ts'
import type { SlotUpdates } from '../update/slot-updates.ts'
import type { Slot } from './slot.ts'
import type { SlotAbility } from './slot-ability.ts'

/** What works for one slot. */
export interface SlotParts {
  readonly slot: Slot
  readonly supervisor: WorkerSupervisor
  readonly updates: SlotUpdates
  readonly ability: SlotAbility
}

/** All of a device's slots; filled while it starts. */
export type AllSlots = ReadonlyMap<SlotId, SlotParts>
