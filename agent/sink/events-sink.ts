import { MAX_EVENTS_PER_S } from '@espalier/shared/classifier/event-rate'
import type { Clock } from '@espalier/shared/clock'
import type { SlotId } from '@espalier/shared/ids'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { Sink } from './sink.ts'

const LEAST_INTERVAL_MS = 1000 / MAX_EVENTS_PER_S

/**
 * Says what a classifier sees when that changes, and nothing else: an event `classified`, at most one a second. A
 * change within the second is said after it, if it lasts.
 */
export function openEventsSink(slot: SlotId, clock: Clock, onEvent: (event: DeviceEvent) => void): Sink {
  let said: { readonly index: number; readonly atMs: number } | undefined
  return {
    async send({ sequence, capturedWallMs, result }) {
      if (result.kind !== 'classification') return false
      const { index, label, score } = result.classification
      const atMs = clock.monotonicMs()
      if (index === said?.index || (said !== undefined && atMs - said.atMs < LEAST_INTERVAL_MS)) return true
      said = { index, atMs }
      onEvent({
        kind: 'classified',
        slot,
        message: `"${label}" with ${(100 * score).toFixed(1)} %`.slice(0, 1000),
        evidence: { index, label, score, sequence, capturedMs: Math.round(capturedWallMs) },
      })
      return true
    },
    close: async () => undefined,
  }
}
