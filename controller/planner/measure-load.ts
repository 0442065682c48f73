import { eventRateBps } from '@espalier/shared/classifier/event-rate'
import type { Task } from '@espalier/shared/manifest/manifest'
import type { DeviceRecord } from '../ingest/fleet.ts'
import { powerBetween } from '../ingest/power-between.ts'
import type { Streams } from '../uplink/streams.ts'
import type { DeviceLoad } from './read-limits.ts'

/** What was heard longer ago says nothing of now. */
const RECENT_MS = 10_000

/**
 * What a device takes of shared limits, from its last messages in memory: a plan looks at every device.
 *
 * @param taskOf A family's task; undefined: it is not known here, and no plan moves its slots.
 * @returns Zeros where nothing was measured lately.
 */
export function measureLoad(
  { id, birth, recent, lastSeenMs }: DeviceRecord,
  streams: Pick<Streams, 'view'>,
  nowMs: number,
  taskOf: (family: string) => Task | undefined,
): Omit<DeviceLoad, 'carbonGPerKwh'> {
  const { site, slots } = birth!
  const none = { site, rateBps: 0, powerW: 0, unplannedW: 0 }
  if (recent === undefined || nowMs - lastSeenMs > RECENT_MS) return none
  const { first, last } = recent
  // The device's own clock has no jitter of the network.
  const seconds = (last.monoMs - first.monoMs) / 1000
  if (!(seconds > 0)) return none
  let [rateBps, slotsW, unplannedW] = [0, 0, 0]
  for (const late of last.counters.slots) {
    const early = first.counters.slots.find(({ slot }) => slot === late.slot)
    const view = streams.view(`${id}/${late.slot}`)
    const isReceived = view !== undefined && view.ageMs < RECENT_MS
    // What was received is better known than what the device says it sent.
    const family = slots.find(({ slot }) => slot === late.slot)?.family
    const task = family === undefined ? undefined : taskOf(family)
    const [bits, frames] = [late.bits - (early?.bits ?? 0), late.frames - (early?.frames ?? 0)]
    if (isReceived) rateBps += view.bitsPerSecond
    // Not each of its results is sent.
    else if (task === 'classification') rateBps += frames > 0 ? eventRateBps(bits / frames, frames / seconds) : 0
    else rateBps += bits / seconds
    const powerW = (late.joules - (early?.joules ?? 0)) / seconds
    slotsW += powerW
    if (family !== undefined && task === undefined) unplannedW += powerW
  }
  return { site, rateBps, powerW: powerBetween(first, last)?.powerW ?? slotsW, unplannedW }
}
