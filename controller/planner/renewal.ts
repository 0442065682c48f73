import type { DeviceId } from '@espalier/shared/ids'
import { LEASE_TTL_S } from './desired-state.ts'

/** A lease is renewed three times within its time to live, at least. */
const MOST_MS = (LEASE_TTL_S * 1000) / 3
/** Of that: devices that were told in one plan are renewed in several, each at its own time of the last part. */
const SPREAD = 1 / 4

/** How long after it was told a device is told again: always the same for one, evenly spread over a fleet. */
export function renewalMs(id: DeviceId): number {
  // FNV-1a, 32 bits, mixed once more: ids of a fleet differ in their last digits.
  let hash = 0x811c9dc5
  for (let i = 0; i < id.length; i++) hash = Math.imul(hash ^ id.charCodeAt(i), 0x01000193)
  const mixed = Math.imul(hash ^ (hash >>> 16), 0x21f0aaad) >>> 0
  return MOST_MS * (1 - SPREAD * (mixed / 2 ** 32))
}
