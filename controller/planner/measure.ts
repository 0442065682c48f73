import type { Clock } from '@espalier/shared/clock'
import { quantile, subtractCounts } from '@espalier/shared/histogram'
import type { Telemetry } from '@espalier/shared/messages/device'
import { primaryEnergy } from '../ingest/energy-source.ts'
import { type DeviceRecord, isConnected } from '../ingest/fleet.ts'
import { powerBetween } from '../ingest/power-between.ts'
import type { Store } from '../store/open-store.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import type { Streams } from '../uplink/streams.ts'

/** Rates and costs are measured over this. */
const WINDOW_MS = 10_000
/** The first sample may lie a little before the window: messages come once a second. */
const WINDOW_SLACK_MS = 1500

export interface JoulesPerFrame {
  readonly value: number
  /** Above idle. */
  readonly dynamic: number
  readonly source: string
  readonly scope: string
  readonly interval: readonly [number, number]
}

/** What a slot or device did in the last ten seconds; a field is absent where nothing was measured. */
export interface Measured {
  readonly latencyMs?: { readonly p50: number; readonly p95: number; readonly p99: number }
  readonly joulesPerFrame?: JoulesPerFrame
  readonly powerW?: number
  readonly bitsPerSecond?: number
  readonly framesPerSecond?: number
  readonly psnrDb?: number
  /** Of classifiers: how often they say the same as their family's first variant. */
  readonly agreementPct?: number
}

export interface DeviceMeasured extends Measured {
  readonly slots: ReadonlyMap<string, Measured>
  /** Totals over all boots; undefined before any telemetry. */
  readonly totals: Telemetry | undefined
  readonly totalsAtMs: number | undefined
  /** What the device would draw if it did nothing. */
  readonly idleW?: number
}

type SlotTelemetry = Telemetry['slots'][number]

type SummedField = 'frames' | 'bits' | 'joules' | 'idleJoules' | 'psnrSum' | 'psnrCount' | 'agreements' | 'comparisons'

const empty = (slot: SlotTelemetry): SlotTelemetry => ({
  ...slot,
  frames: 0,
  bits: 0,
  joules: 0,
  idleJoules: 0,
  latency: {},
  psnrSum: 0,
  psnrCount: 0,
  agreements: 0,
  comparisons: 0,
})

function spanS(first: TelemetryRow, last: TelemetryRow): number {
  // The device's own clock has no jitter of the network.
  return (last.monoMs - first.monoMs) / 1000
}

function latencyOf(counts: SlotTelemetry['latency']): Pick<Measured, 'latencyMs'> {
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantile(counts, share))
  return p50 === undefined ? {} : { latencyMs: { p50: p50 * 1000, p95: p95! * 1000, p99: p99! * 1000 } }
}

function measureSlots(
  early: readonly SlotTelemetry[],
  late: readonly SlotTelemetry[],
  seconds: number,
  energy: Telemetry['energy'],
): Measured {
  const before = (slot: SlotTelemetry) => early.find((e) => e.slot === slot.slot) ?? empty(slot)
  const sum = (field: SummedField) =>
    late.reduce((total, slot) => total + (slot[field] ?? 0) - (before(slot)[field] ?? 0), 0)
  const [frames, joules, psnrCount, comparisons] = [sum('frames'), sum('joules'), sum('psnrCount'), sum('comparisons')]
  const source = primaryEnergy(energy)
  const latency = late.reduce<Record<string, number>>((all, slot) => {
    for (const [bucket, count] of Object.entries(subtractCounts(slot.latency, before(slot).latency)))
      all[bucket] = (all[bucket] ?? 0) + count
    return all
  }, {})
  const value = joules / frames
  return {
    ...latencyOf(latency),
    ...(frames > 0 && source !== undefined
      ? {
          joulesPerFrame: {
            value,
            dynamic: (joules - sum('idleJoules')) / frames,
            source: source.source,
            scope: source.scope,
            interval: [value * Math.max(0, 1 - source.uncertainty), value * (1 + source.uncertainty)] as const,
          },
        }
      : {}),
    powerW: joules / seconds,
    bitsPerSecond: sum('bits') / seconds,
    framesPerSecond: frames / seconds,
    ...(psnrCount > 0 ? { psnrDb: sum('psnrSum') / psnrCount } : {}),
    ...(comparisons > 0 ? { agreementPct: (100 * sum('agreements')) / comparisons } : {}),
  }
}

/** Prefer what was received over what the device says it sent. */
function withReceived(measured: Measured, receivedBps: number | undefined): Measured {
  return receivedBps === undefined ? measured : { ...measured, bitsPerSecond: receivedBps }
}

/** Measure a device over the last ten seconds of its telemetry and uplink. */
export function measureDevice(
  device: DeviceRecord,
  { store, streams, clock }: { store: Store; streams: Streams; clock: Clock },
): DeviceMeasured {
  const nowMs = clock.wallMs()
  const samples = store.telemetry.samplesSince(device.id, nowMs - WINDOW_MS - WINDOW_SLACK_MS)
  const [first, last] = [samples[0], samples.at(-1)]
  const totals = store.telemetry.totals(device.id)
  const slots = new Map<string, Measured>()
  const none = { slots, totals, totalsAtMs: last?.atMs ?? (totals && device.lastSeenMs) }
  if (first === undefined || last === undefined || first === last || !isConnected(device)) return none
  const seconds = spanS(first, last)
  if (!(seconds > 0)) return none

  let receivedBps: number | undefined
  for (const late of last.counters.slots) {
    const early = first.counters.slots.filter(({ slot }) => slot === late.slot)
    const view = streams.view(`${device.id}/${late.slot}`)
    const slotBps = view !== undefined && view.ageMs < WINDOW_MS ? view.bitsPerSecond : undefined
    if (slotBps !== undefined) receivedBps = (receivedBps ?? 0) + slotBps
    slots.set(late.slot, withReceived(measureSlots(early, [late], seconds, last.counters.energy), slotBps))
  }
  const { idleW, ...all } = measureWhole(first, last)
  return { ...none, ...withReceived(all, receivedBps), ...(idleW === undefined ? {} : { idleW }) }
}

/** What a device did between two of its messages of one boot, in its own words, its slots together. */
export function measureWhole(first: TelemetryRow, last: TelemetryRow): Measured & { readonly idleW?: number } {
  const all = measureSlots(first.counters.slots, last.counters.slots, spanS(first, last), last.counters.energy)
  return { ...all, ...powerBetween(first, last) }
}
