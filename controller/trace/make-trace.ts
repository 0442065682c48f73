import type { TelemetryWindow } from '../estimate/slot-estimate.ts'
import { type Families, familyOf } from '../families.ts'
import type { DeviceRecord, Fleet } from '../ingest/fleet.ts'
import { windowBetween } from '../ingest/window.ts'
import { catalogueOf, type SlotBirth } from '../plan/catalogue.ts'
import { predictNominal } from '../plan/predict.ts'
import type { Budget, BudgetChange } from '../store/budgets.ts'
import type { Store } from '../store/open-store.ts'
import type { Sample } from '../store/telemetry.ts'
import type { Trace, TraceEpoch, TraceHeader, TraceReading } from './trace.ts'

const EPOCH_S = 10

interface Traced {
  readonly slot: TraceHeader['slots'][number]
  readonly device: DeviceRecord
  readonly birth: SlotBirth
}

function listSlots(fleet: Fleet, families: Families): Traced[] {
  return fleet.list().flatMap((device) =>
    (device.birth?.slots ?? []).flatMap((birth): Traced[] => {
      const manifest = familyOf(families, device, birth)?.manifest
      // What policies are compared by is decibels: slots of other tasks are left out.
      if (manifest?.task !== 'image-codec') return []
      const options = catalogueOf(birth, manifest).entries.map(({ id, configuration: c }) => {
        const { bitsPerFrame, latencyS, joulesPerFrame, psnrDb } = predictNominal(c, birth, manifest)
        const graph = `${c.variant}/${c.width}x${c.height}`
        return { id, graph, frameRate: c.frameRate, bitsPerFrame, latencyS, joulesPerFrame, psnrDb }
      })
      const { site, deviceClass } = device.birth!
      const key = `${device.id}/${birth.slot}`
      const { weight, source } = birth
      return [{ slot: { key, site, deviceClass, weight, sourceFrameRate: source.frameRate, options }, device, birth }]
    }),
  )
}

/** Budgets at a time, from those of now and the changes since; latest change first. */
function budgetsAt(now: ReadonlyMap<string, Budget>, changes: readonly BudgetChange[], atMs: number) {
  const budgets = new Map(now)
  for (const change of changes) {
    if (change.atMs <= atMs) break
    if (change.before === undefined) budgets.delete(change.key)
    else budgets.set(change.key, change.before)
  }
  return Object.fromEntries(budgets)
}

/** Sum windows of one epoch under the configuration that did most frames. */
function readingOf(windows: readonly TelemetryWindow[]): TraceReading | undefined {
  const frames = new Map<string, number>()
  for (const { configuration, frames: done } of windows)
    frames.set(configuration, (frames.get(configuration) ?? 0) + done)
  const [most] = [...frames].sort((a, b) => b[1] - a[1])
  if (most === undefined) return undefined
  const [configuration, count] = most
  const own = windows.filter((w) => w.configuration === configuration)
  const sum = (of: (w: TelemetryWindow) => number) => own.reduce((total, w) => total + of(w), 0)
  const seconds = sum((w) => w.seconds)
  // Each window's own mean, weighted by its frames; those without one do not count.
  const mean = (of: (w: TelemetryWindow) => number | undefined) => {
    const measured = own.filter((w) => w.frames > 0 && of(w) !== undefined)
    const weight = measured.reduce((total, w) => total + w.frames, 0)
    return weight > 0 ? measured.reduce((total, w) => total + w.frames * of(w)!, 0) / weight : undefined
  }
  const [latencyS, psnrDb] = [mean((w) => w.latencyP50S), mean((w) => w.psnrDb)]
  const bits = sum((w) => w.bits)
  return {
    configuration,
    frames: count,
    ...(latencyS === undefined || !(latencyS > 0) ? {} : { latencyS }),
    ...(count > 0 && bits > 0 ? { bitsPerFrame: bits / count } : {}),
    ...(count > 0 ? { joulesPerFrame: Math.max(0, sum((w) => w.dynamicJoules) / count) } : {}),
    ...(seconds > 0 ? { baseW: sum((w) => w.baseJoules) / seconds } : {}),
    ...(psnrDb === undefined ? {} : { psnrDb }),
  }
}

function readingsByEpoch(samples: readonly Sample[], slot: string, startMs: number): Map<number, TraceReading> {
  const windows = new Map<number, TelemetryWindow[]>()
  for (const [k, after] of samples.entries()) {
    const window = k === 0 ? undefined : windowBetween(samples[k - 1]!, after, slot)
    const epoch = Math.floor((after.atMs - startMs) / (EPOCH_S * 1000))
    if (window !== undefined && epoch >= 0) windows.set(epoch, [...(windows.get(epoch) ?? []), window])
  }
  return new Map(
    [...windows].flatMap(([epoch, of]) => {
      const reading = readingOf(of)
      return reading === undefined ? [] : [[epoch, reading] as const]
    }),
  )
}

/**
 * What a controller has recorded of its fleet: about twenty minutes of each device at one message a second, of its present boot.
 *
 * @returns Undefined if there is no telemetry of any slot that can be planned.
 */
export function makeTrace(
  { store, fleet, families }: { store: Store; fleet: Fleet; families: Families },
  { sinceMs, nowMs, device: only }: { sinceMs: number; nowMs: number; device?: string | undefined },
): Trace | undefined {
  const traced = listSlots(fleet, families).filter(({ device }) => only === undefined || device.id === only)
  const samples = new Map(traced.map(({ device }) => [device.id, store.telemetry.samplesSince(device.id, sinceMs)]))
  const startMs = Math.min(...[...samples.values()].flatMap((of) => of[0]?.atMs ?? []))
  if (!Number.isFinite(startMs)) return undefined
  const bySlot = traced.map(({ slot, device, birth }) => ({
    key: slot.key,
    readings: readingsByEpoch(samples.get(device.id)!, birth.slot, startMs),
  }))
  const [budgets, changes] = [store.budgets.list(), store.budgets.audit(10_000)]
  const last = Math.max(...bySlot.flatMap(({ readings }) => [...readings.keys()]))
  if (!Number.isFinite(last)) return undefined
  const epochs = Array.from({ length: last + 1 }, (_, epoch): TraceEpoch => {
    const endMs = Math.min(nowMs, startMs + (epoch + 1) * EPOCH_S * 1000)
    const heard = bySlot.flatMap(({ key, readings }) => {
      const reading = readings.get(epoch)
      return reading === undefined ? [] : [[key, reading] as const]
    })
    return { epoch, budgets: budgetsAt(budgets, changes, endMs), slots: Object.fromEntries(heard) }
  })
  const startedAt = new Date(startMs).toISOString()
  return {
    header: { format: 'espalier-trace/1', startedAt, epochS: EPOCH_S, slots: traced.map(({ slot }) => slot) },
    epochs,
  }
}
