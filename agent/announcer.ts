import { describeError } from '@espalier/shared/errors'
import type { Birth, Reported, State } from '@espalier/shared/messages/device'
import type { Outbox } from './link/outbox.ts'
import type { Log } from './log.ts'
import type { AllSlots } from './slot/slot-parts.ts'

export interface AnnouncerOptions {
  readonly slots: AllSlots
  readonly outbox: Outbox
  readonly isConnected: () => boolean
  /** Of the desired state that is held. */
  readonly gen: () => number
  /** @see AgentSurroundings.sleepReason */
  readonly sleepReason: (() => string | undefined) | undefined
  readonly log: Log
}

/** Says, for whoever asks later, what this device is and how it is: birth, state and reported state, retained at the broker. */
export class Announcer {
  readonly #options: AnnouncerOptions
  #birth: Birth | undefined
  #saidState = ''
  #saidReported = ''

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  /** What this device is was found out, or has changed. */
  async bear(birth: Birth): Promise<void> {
    this.#birth = birth
    if (this.#options.isConnected()) await this.introduce().catch((error: unknown) => this.#logLost(error))
  }

  /** Say who this is: state first, then birth once there is one. */
  async introduce(): Promise<void> {
    const reported = this.reported()
    await this.#sayState(this.state(reported))
    if (this.#birth === undefined) return
    await this.#options.outbox.publishRetained('birth', this.#birth)
    await this.#sayReported(reported)
  }

  /** Say what is not as it was said last. @returns Whether there was something to say. */
  async tellChanges(): Promise<boolean> {
    if (!this.#options.isConnected()) return false
    const reported = this.reported()
    const state = this.state(reported)
    const isNewState = JSON.stringify(state) !== this.#saidState
    const isNewReport = this.#birth !== undefined && JSON.stringify(reported) !== this.#saidReported
    try {
      if (isNewState) await this.#sayState(state)
      if (isNewReport) await this.#sayReported(reported)
    } catch (error) {
      this.#logLost(error)
    }
    return isNewState || isNewReport
  }

  takeLeave(): Promise<void> {
    return this.#options.outbox.publishRetained('state', { state: 'offline', reason: 'stopped' })
  }

  state(reported = this.reported()): State {
    if (this.#birth === undefined) return { state: 'init' }
    const asleep = this.#options.sleepReason?.()
    if (asleep !== undefined) return { state: 'sleeping', reason: asleep.slice(0, 500) }
    const slots = reported.slots.filter(({ phase }) => phase === 'failed' || phase === 'starting')
    const onTrial = [...this.#options.slots].filter(([, { updates }]) => updates.isOnTrial).map(([id]) => id)
    if (slots.length === 0)
      return onTrial.length === 0
        ? { state: 'ready' }
        : { state: 'trial', reason: `another version is on trial: ${onTrial.join(', ')}` }
    const reason = slots.map(({ slot, phase, reason: why }) => `${slot}: ${phase}${why ? `, ${why}` : ''}`).join('; ')
    return { state: 'degraded', reason: reason.slice(0, 500) }
  }

  reported(): Reported {
    const { slots, gen } = this.#options
    return {
      gen: gen(),
      slots: [...slots.values()].map(({ slot, updates }) => ({ ...slot.reported(), ...updates.reported() })),
    }
  }

  async #sayState(state: State): Promise<void> {
    await this.#options.outbox.publishRetained('state', state)
    this.#saidState = JSON.stringify(state)
  }

  async #sayReported(reported: Reported): Promise<void> {
    await this.#options.outbox.publishRetained('reported', reported)
    this.#saidReported = JSON.stringify(reported)
  }

  #logLost(error: unknown): void {
    this.#options.log.debug({ reason: describeError(error) }, 'message waits for the next connection')
  }
}
