import type { Configuration } from '@espalier/shared/configuration'
import { describeError, StoreError } from '@espalier/shared/errors'
import type { DeviceId, SlotId } from '@espalier/shared/ids'
import type { ControllerState, Rung } from '@espalier/shared/messages/controller'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { Factors, Plan } from '../governor/governor.ts'
import type { TimeMark } from '../time/time-mark.ts'
import type { FileCalls } from '../twin/atomic-file.ts'
import { Autonomy } from './autonomy.ts'
import { CapsuleKeeper } from './capsule-keeper.ts'
import { Contact } from './contact.ts'
import type { Headroom } from './read-headroom.ts'

/** The part of a slot that is steered. */
export interface SteeredSlot {
  follow(plan: Plan): void
  /** What it runs, which a brake may have chosen. */
  readonly configuration: Configuration
  factors(): Factors
}

export interface SteeringOptions {
  readonly device: DeviceId
  readonly dataDir: string
  readonly controllerKey: string | undefined
  readonly monotonicMs: () => number
  readonly mark: () => TimeMark
  readonly readHeadroom: () => Headroom
  /** Why this device cannot run a ladder of a slot; undefined if it can. */
  readonly refusalOf: (slot: SlotId, ladder: readonly Rung[]) => string | undefined
  /** What the controller last wanted of a slot; undefined: nothing. */
  readonly desiredOf: (slot: SlotId) => Plan | undefined
  readonly onEvent: (event: DeviceEvent) => void
  readonly calls?: FileCalls
}

/** Decides whom the slots follow: the controller while it is there, the capsule when it is not. */
export class Steering {
  readonly #options: SteeringOptions
  readonly #keeper: CapsuleKeeper
  readonly #contact: Contact
  readonly #autonomy: Autonomy
  #isAlone = false
  /** A reason is told once, not with every repetition of a capsule. */
  #toldRefusal: string | undefined

  constructor(options: SteeringOptions) {
    this.#options = options
    const { onEvent } = options
    this.#contact = new Contact(options.monotonicMs())
    this.#keeper = new CapsuleKeeper({
      ...options,
      onDamage: ({ message }) => onEvent({ kind: 'capsule-lost', message: message.slice(0, 1000) }),
    })
    this.#autonomy = new Autonomy(this.#keeper, ({ slot, ladder }) => options.refusalOf(slot, ladder) === undefined)
  }

  /** Whether the device is on its own. */
  get isAlone(): boolean {
    return this.#isAlone
  }

  /** Take a capsule in, or tell once why not. */
  receiveCapsule(signed: unknown, isRetained: boolean): void {
    const { onEvent } = this.#options
    try {
      const offered = this.#keeper.offer(signed, { isRetained })
      this.#toldRefusal = undefined
      if (offered !== 'first') return
      const key = this.#keeper.trustedKey!
      onEvent({
        kind: 'controller-key-trusted',
        message: `Trusting the first controller that signed a capsule, key "${key}": give it as "controllerKey" to trust no other`,
        evidence: { key },
      })
    } catch (error) {
      const message = describeError(error).slice(0, 1000)
      if (message === this.#toldRefusal) return
      this.#toldRefusal = message
      onEvent({ kind: 'capsule-refused', message })
    }
  }

  receiveController(state: ControllerState): void {
    this.#contact.noteController(state)
  }

  /** Once a second. */
  step(isConnected: boolean, slots: ReadonlyMap<SlotId, SteeredSlot>): void {
    const nowMs = this.#options.monotonicMs()
    this.#contact.noteLink(isConnected, nowMs)
    const wasAlone = this.#isAlone
    this.#isAlone = this.#contact.isAlone(nowMs)
    if (this.#contact.isGuided) this.#renew()
    if (this.#isAlone !== wasAlone) this.#tell()
    if (wasAlone && !this.#isAlone) this.#return(slots)
    if (!this.#isAlone) return
    const headroom = this.#options.readHeadroom()
    for (const [id, slot] of slots) {
      const { rate, power, latency } = slot.factors()
      const { configuration: runs } = slot
      const conditions = { ...headroom, rateFactor: rate, powerFactor: power, slowdown: latency, runs }
      const plan = this.#autonomy.planFor(id, conditions)
      if (plan !== undefined) slot.follow(plan)
    }
  }

  #renew(): void {
    try {
      this.#keeper.renew()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      this.#options.onEvent({ kind: 'capsule-unwritten', message: error.message.slice(0, 1000) })
    }
  }

  #return(slots: ReadonlyMap<SlotId, SteeredSlot>): void {
    this.#autonomy.end()
    for (const [id, slot] of slots) {
      const plan = this.#options.desiredOf(id)
      if (plan !== undefined) slot.follow(plan)
    }
  }

  #tell(): void {
    const { capsule } = this.#keeper
    const alone =
      capsule === undefined
        ? 'No controller, and no capsule: the last plan goes on'
        : `No controller: following the capsule of generation ${capsule.gen}`
    this.#options.onEvent({
      kind: this.#isAlone ? 'controller-lost' : 'controller-back',
      message: this.#isAlone ? alone : 'The controller is back: following the last plan',
    })
  }
}
