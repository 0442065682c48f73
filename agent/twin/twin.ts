import { join } from 'node:path'
import type { StoreError } from '@espalier/shared/errors'
import type { Digest, SlotId } from '@espalier/shared/ids'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import { z } from 'zod'
import type { FileCalls } from './atomic-file.ts'
import { StateFile } from './state-file.ts'

export type DesiredSlot = Desired['slots'][number]

const twinSchema = z.object({
  version: z.literal(1),
  /** Births so far: stands in the will, so that a late will cannot end a newer session. */
  bd: z.int().min(0),
  gen: z.int().min(0),
  telemetryIntervalS: desiredSchema.shape.telemetryIntervalS,
  /**
   * The last desired state of each slot, and for each version of its family that still counts, that this device could
   * run; the newest of a slot last. `family` is the version that the ladder is for, not the one that was ordered.
   */
  slots: desiredSchema.shape.slots,
})
export type TwinState = z.infer<typeof twinSchema>

const EMPTY: TwinState = { version: 1, bd: 0, gen: 0, telemetryIntervalS: 1, slots: [] }

/** One that names no version was for whichever ran, and is superseded by any. */
const isSamePlan = (held: DesiredSlot, newer: DesiredSlot): boolean =>
  held.slot === newer.slot && (held.family === undefined || held.family.manifestDigest === newer.family?.manifestDigest)

/**
 * What the controller wants, as last heard and runnable, kept on disk: a device that starts without a controller
 * runs this. Each change is on disk before it takes effect.
 */
export class Twin {
  readonly #file: StateFile<TwinState>
  #state: TwinState

  /**
   * @param onDamage Told when the file is there but unreadable; the twin then starts empty, as a new device does.
   */
  constructor(dataDir: string, onDamage: (error: StoreError) => void, calls?: FileCalls) {
    this.#file = new StateFile(join(dataDir, 'twin.json'), 'twin', twinSchema, calls)
    this.#state = this.#file.load(onDamage) ?? EMPTY
  }

  get state(): TwinState {
    return this.#state
  }

  /** Count a birth. @returns The new birth's number. */
  nextBirth(): number {
    this.#save({ ...this.#state, bd: this.#state.bd + 1 })
    return this.#state.bd
  }

  /**
   * Take a desired state if it is newer than the one held; a slot that this device cannot run keeps what it had.
   *
   * @param isRunnable Decides for each slot of `desired`.
   * @param isKept Of what is held: whether its version of the family still counts.
   * @returns Whether it was newer.
   */
  supersede(
    desired: Desired,
    isRunnable: (slot: DesiredSlot) => boolean,
    isKept: (slot: DesiredSlot) => boolean = () => true,
  ): boolean {
    if (desired.gen <= this.#state.gen) return false
    const runnable = desired.slots.filter(isRunnable)
    const kept = this.#state.slots.filter((held) => isKept(held) && runnable.every((other) => !isSamePlan(held, other)))
    this.#save({
      ...this.#state,
      gen: desired.gen,
      telemetryIntervalS: desired.telemetryIntervalS,
      slots: [...kept, ...runnable],
    })
    return true
  }

  /**
   * What is wanted of a slot while it runs a version.
   *
   * @param canRun Whether that version can run a plan.
   * @returns The plan for that version, or else the newest, where it can run it, with the limits that came last.
   */
  planFor(slot: SlotId, version: Digest, canRun: (plan: DesiredSlot) => boolean): DesiredSlot | undefined {
    const plans = this.#state.slots.filter((held) => held.slot === slot)
    const newest = plans.at(-1)
    const own = plans.find(({ family }) => family === undefined || family.manifestDigest === version)
    const found = [own, newest].find((plan) => plan !== undefined && canRun(plan))
    return found && newest && { ...found, lease: newest.lease, prices: newest.prices }
  }

  /** The limits of a slot that came last. */
  leaseOf(slot: SlotId): DesiredSlot['lease'] | undefined {
    return this.#state.slots.findLast((held) => held.slot === slot)?.lease
  }

  #save(state: TwinState): void {
    this.#file.save(state)
    this.#state = state
  }
}
