import { type HistogramCounts, quantile, subtractCounts } from '@espalier/shared/histogram'
import type { Telemetry } from '@espalier/shared/messages/device'
import { powerBetween } from '../ingest/power-between.ts'
import type { TelemetryRow } from '../store/telemetry.ts'

type SlotTelemetry = Telemetry['slots'][number]

/** What a slot did between two messages; a field is absent where nothing was measured. */
export interface SlotWindow {
  readonly slot: string
  readonly configurationId: string
  readonly seconds: number
  readonly frames: number
  readonly dropped: number
  readonly framesPerSecond: number
  readonly rateBps: number
  readonly powerW: number
  readonly joulesPerFrame?: number
  /** Above idle. */
  readonly dynamicJoulesPerFrame?: number
  readonly latency: HistogramCounts
  readonly latencyP50Ms?: number
  readonly latencyP95Ms?: number
  readonly psnrDb?: number
  readonly agreementPct?: number
}

export interface DeviceWindow {
  readonly seconds: number
  readonly slots: readonly SlotWindow[]
  /** Of all sources of the device together; absent without any. */
  readonly powerW?: number
  readonly idleW?: number
}

const difference = (late: number | undefined, early: number | undefined): number => (late ?? 0) - (early ?? 0)

function measureSlot(early: SlotTelemetry | undefined, late: SlotTelemetry, seconds: number): SlotWindow {
  const frames = difference(late.frames, early?.frames)
  const joules = difference(late.joules, early?.joules)
  const idleJoules = difference(late.idleJoules, early?.idleJoules)
  const psnrCount = difference(late.psnrCount, early?.psnrCount)
  const comparisons = difference(late.comparisons, early?.comparisons)
  const latency = subtractCounts(late.latency, early?.latency ?? {})
  const [p50, p95] = [quantile(latency, 0.5), quantile(latency, 0.95)]
  return {
    slot: late.slot,
    configurationId: late.configuration,
    seconds,
    frames,
    dropped: difference(late.dropped, early?.dropped),
    framesPerSecond: frames / seconds,
    rateBps: difference(late.bits, early?.bits) / seconds,
    powerW: joules / seconds,
    ...(frames > 0 ? { joulesPerFrame: joules / frames, dynamicJoulesPerFrame: (joules - idleJoules) / frames } : {}),
    latency,
    ...(p50 === undefined ? {} : { latencyP50Ms: 1000 * p50, latencyP95Ms: 1000 * p95! }),
    ...(psnrCount > 0 ? { psnrDb: difference(late.psnrSum, early?.psnrSum) / psnrCount } : {}),
    ...(comparisons > 0 ? { agreementPct: (100 * difference(late.agreements, early?.agreements)) / comparisons } : {}),
  }
}

/**
 * What a device and each of its slots did between two messages.
 *
 * @returns Undefined if the two are not of one boot, in this order.
 */
export function measureWindow(first: TelemetryRow, last: TelemetryRow): DeviceWindow | undefined {
  // The device's own clock has no jitter of the network.
  const seconds = (last.monoMs - first.monoMs) / 1000
  if (first.boot !== last.boot || !(seconds > 0)) return undefined
  return {
    seconds,
    slots: last.counters.slots.map((late) =>
      measureSlot(
        first.counters.slots.find(({ slot }) => slot === late.slot),
        late,
        seconds,
      ),
    ),
    ...powerBetween(first, last),
  }
}
