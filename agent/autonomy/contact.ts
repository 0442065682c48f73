import type { ControllerState } from '@espalier/shared/messages/controller'

/** A broker that restarts, or a cell that is left, is back by then: nobody need notice. */
const GRACE_MS = 10_000

/** Whether there is a controller to follow: its broker answers, and says that it is there. */
export class Contact {
  #lostMs: number | undefined
  #controller: ControllerState['state'] = 'online'

  /** @param nowMs Monotonic: there is no connection at first. */
  constructor(nowMs: number) {
    this.#lostMs = nowMs
  }

  noteLink(isConnected: boolean, nowMs: number): void {
    this.#lostMs = isConnected ? undefined : (this.#lostMs ?? nowMs)
  }

  noteController({ state }: ControllerState): void {
    this.#controller = state
  }

  /** A controller is there, and would say so if something were to change. */
  get isGuided(): boolean {
    return this.#lostMs === undefined && this.#controller === 'online'
  }

  isAlone(nowMs: number): boolean {
    if (this.#lostMs !== undefined) return nowMs - this.#lostMs >= GRACE_MS || this.#controller === 'offline'
    return this.#controller === 'offline'
  }
}
