import type { Clock } from '@espalier/shared/clock'
import type { DeviceId, SlotId } from '@espalier/shared/ids'
import type { Command } from '@espalier/shared/messages/controller'

/** A device that was asked answers with its next frame: asking faster than this only repeats it. */
const EVERY_MS = 2000

export interface KeyFrameRequestsOptions {
  readonly clock: Clock
  readonly send: (device: DeviceId, command: Command) => Promise<unknown>
  readonly onError: (device: DeviceId, slot: SlotId, error: unknown) => void
}

/** Asks devices for frames that stand alone, whoever needs one, and no more often than helps. */
export class KeyFrameRequests {
  readonly #options: KeyFrameRequestsOptions
  readonly #askedMs = new Map<string, number>()

  constructor(options: KeyFrameRequestsOptions) {
    this.#options = options
  }

  ask(device: DeviceId, slot: SlotId): void {
    const { clock, send, onError } = this.#options
    const key = `${device}/${slot}`
    const nowMs = clock.monotonicMs()
    if (nowMs - (this.#askedMs.get(key) ?? Number.NEGATIVE_INFINITY) < EVERY_MS) return
    this.#askedMs.set(key, nowMs)
    send(device, { kind: 'key-frame', slot }).catch((error: unknown) => onError(device, slot, error))
  }
}
