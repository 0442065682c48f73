import type { Telemetry } from '@espalier/shared/messages/device'
import { z } from 'zod'
import { type DeviceRecord, isConnected } from '../ingest/fleet.ts'

/** `resting` was told to, `starting` is on its way; `attention` runs and something is not as it should be. */
export const healthSchema = z.enum(['ok', 'starting', 'resting', 'attention', 'lost'])
export type Health = z.infer<typeof healthSchema>

/** For people. */
export const HEALTH_WORDS: Readonly<Record<Health, string>> = {
  ok: 'well',
  starting: 'starting',
  resting: 'resting',
  attention: 'attention',
  lost: 'lost',
}

export interface Verdict {
  readonly health: Health
  /** For people; absent where all is well. */
  readonly reason?: string
}

const PHASES_THAT_NEED_A_LOOK: ReadonlySet<string> = new Set(['braked', 'refused', 'failed'])
const UPDATES_THAT_NEED_A_LOOK: ReadonlySet<string> = new Set(['rolled-back', 'safe'])

/** How a device is, in a word and a reason: the first of these that holds. */
export function judgeHealth(
  device: Pick<DeviceRecord, 'state' | 'reason' | 'reported'>,
  telemetry: Telemetry | undefined,
): Verdict {
  const slots = device.reported?.slots ?? []
  const withReason = (word: string, reason: string | undefined) => (reason === undefined ? word : `${word}: ${reason}`)
  if (device.state === 'sleeping') return { health: 'resting', reason: withReason('sleeping', device.reason) }
  if (!isConnected(device as DeviceRecord)) return { health: 'lost', reason: withReason(device.state, device.reason) }
  const phase = slots.find((slot) => PHASES_THAT_NEED_A_LOOK.has(slot.phase))
  if (phase !== undefined)
    return { health: 'attention', reason: withReason(`${phase.slot} ${phase.phase}`, phase.reason) }
  const update = slots.find((slot) => UPDATES_THAT_NEED_A_LOOK.has(slot.update?.state ?? ''))?.update
  if (update !== undefined) return { health: 'attention', reason: withReason(`update ${update.state}`, update.reason) }
  if (device.state === 'degraded') return { health: 'attention', reason: withReason('degraded', device.reason) }
  const throttled = telemetry?.machine?.throttledNow ?? []
  if (throttled.length > 0) return { health: 'attention', reason: `throttled: ${throttled.join(', ')}` }
  if (device.state === 'init' || slots.some((slot) => slot.phase === 'starting'))
    return { health: 'starting', reason: 'starting' }
  if (device.state === 'trial') return { health: 'starting', reason: 'trial of an update' }
  if (slots.length > 0 && slots.every((slot) => slot.isPaused === true)) return { health: 'resting', reason: 'paused' }
  return { health: 'ok' }
}
