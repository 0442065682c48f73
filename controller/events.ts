import { EventEmitter } from 'node:events'

/** What the event stream of the API says; each carries enough to know what to read again. */
export interface ControllerEvents {
  device: { device: string; what: 'state' | 'birth' | 'reported' | 'telemetry' | 'event' | 'ack'; detail?: unknown }
  plan: { devices: string[]; value: number; bound: number; gap: number }
  budget: { key: string; budget: unknown }
  rollout: { id: string; state: string; wave: number; reason: string }
  alert: { event: 'fired' | 'resolved'; rule: string; subject: string; severity: string; message: string }
  families: { added: string[]; removed: string[] }
  alarm: { kind: string; subject: string; message: string }
}

export type ControllerEvent = {
  [K in keyof ControllerEvents]: { kind: K; data: ControllerEvents[K] }
}[keyof ControllerEvents]

/** Tells what happened to whoever listens. */
export class EventBus {
  readonly #emitter = new EventEmitter().setMaxListeners(0)

  emit(event: ControllerEvent): void {
    this.#emitter.emit('event', event)
  }

  /** @returns A function that ends the subscription. */
  subscribe(listener: (event: ControllerEvent) => void): () => void {
    this.#emitter.on('event', listener)
    return () => this.#emitter.off('event', listener)
  }
}
