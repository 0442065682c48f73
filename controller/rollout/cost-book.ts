import type { Clock } from '@espalier/shared/clock'
import { parseConfigurationId } from '@espalier/shared/configuration'
import { quantile, subtractCounts } from '@espalier/shared/histogram'
import type { Digest } from '@espalier/shared/ids'
import { type Families, versionOf } from '../families.ts'
import type { DeviceRecord } from '../ingest/fleet.ts'
import { windowBetween } from '../ingest/window.ts'
import { predictNominal } from '../plan/predict.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import type { LogCosts } from './compare-costs.ts'

/** What is meant by "recently": two halves, so that it is between one and two of these. */
const HALF_MS = 5 * 60_000
/** With fewer frames a cost says nothing. */
const LEAST_FRAMES = 30
/** Buckets of histograms an octave: shared/histogram.ts. */
const BUCKETS_PER_OCTAVE = 8

/** Measured and as the cards have it, over the same frames. */
class Sums {
  frames = 0
  bits = 0
  nominalBits = 0
  joules = 0
  nominalJoules = 0
  readonly latency = new Map<number, number>()

  add(other: Sums): this {
    this.frames += other.frames
    this.bits += other.bits
    this.nominalBits += other.nominalBits
    this.joules += other.joules
    this.nominalJoules += other.nominalJoules
    for (const [bucket, count] of other.latency) this.latency.set(bucket, (this.latency.get(bucket) ?? 0) + count)
    return this
  }

  costs(): LogCosts {
    if (this.frames < LEAST_FRAMES) return {}
    const p95 = quantile(Object.fromEntries(this.latency), 0.95)
    return {
      ...(p95 === undefined ? {} : { latencyP95: Math.log(p95) }),
      ...(this.joules > 0 ? { joulesPerFrame: Math.log(this.joules / this.nominalJoules) } : {}),
      ...(this.bits > 0 ? { bitsPerFrame: Math.log(this.bits / this.nominalBits) } : {}),
    }
  }
}

interface Entry {
  version: Digest | undefined
  /** The recent past under this version: the half that is full, and the one that fills. */
  full: Sums
  filling: Sums
  fillingSinceMs: number
  /** Since it was marked, or since the version changed. */
  since: Sums
  before: LogCosts
}

/**
 * What frames cost on each slot relative to the cards, recently and since a moment. Cards divide out what the plan chose: a
 * device that was given a smaller picture did not become faster.
 */
export class CostBook {
  readonly #entries = new Map<string, Entry>()
  readonly #families: Pick<Families, 'get' | 'version'>
  readonly #clock: Clock

  constructor(families: Pick<Families, 'get' | 'version'>, clock: Clock) {
    this.#families = families
    this.#clock = clock
  }

  /**
   * @param referenceOf The version whose cards costs of a slot are relative to; undefined: those of the version that runs.
   */
  observe(
    device: DeviceRecord,
    before: TelemetryRow,
    after: TelemetryRow,
    referenceOf: (key: string) => Digest | undefined,
  ): void {
    for (const slot of device.birth?.slots ?? []) {
      const key = `${device.id}/${slot.slot}`
      const window = windowBetween(before, after, slot.slot)
      const configuration = window && parseConfigurationId(window.configuration)
      if (window === undefined || configuration === undefined || window.frames <= 0) continue
      const version = versionOf(device, slot.slot)
      const manifests = [referenceOf(key), version].map((digest) => this.#families.version(digest ?? '')?.manifest)
      manifests.push(this.#families.get(slot.family)?.manifest)
      const reference = manifests.find((manifest) => manifest?.variants.some(({ id }) => id === configuration.variant))
      if (reference === undefined) continue
      const nominal = predictNominal(configuration, slot, reference)
      const sums = new Sums()
      sums.frames = window.frames
      sums.bits = window.bits
      sums.nominalBits = window.frames * nominal.bitsPerFrame
      sums.joules = Math.max(0, window.dynamicJoules)
      sums.nominalJoules = window.frames * nominal.joulesPerFrame
      const shift = Math.round(BUCKETS_PER_OCTAVE * Math.log2(nominal.latencyS))
      const [early, late] = [before, after].map(({ counters }) => counters.slots.find((s) => s.slot === slot.slot)!)
      for (const [bucket, count] of Object.entries(subtractCounts(late!.latency, early!.latency)))
        sums.latency.set(Number(bucket) - shift, count)
      this.#add(key, version, sums)
    }
  }

  #add(key: string, version: Digest | undefined, sums: Sums): void {
    const nowMs = this.#clock.monotonicMs()
    const empty = { full: new Sums(), filling: new Sums(), fillingSinceMs: nowMs, since: new Sums() }
    let entry = this.#entries.get(key)
    if (entry === undefined) entry = { version, ...empty, before: {} }
    // What ran before is what the new version is compared with.
    else if (entry.version !== version) entry = { version, ...empty, before: recentOf(entry) }
    else if (nowMs - entry.fillingSinceMs > HALF_MS)
      Object.assign(entry, { full: entry.filling, filling: new Sums(), fillingSinceMs: nowMs })
    entry.filling.add(sums)
    entry.since.add(sums)
    this.#entries.set(key, entry)
  }

  /** In the last five to ten minutes, under the version that runs. */
  recent(key: string): LogCosts {
    const entry = this.#entries.get(key)
    return entry === undefined ? {} : recentOf(entry)
  }

  /** From now on `change` is against the recent past. */
  mark(key: string): void {
    const entry = this.#entries.get(key)
    if (entry === undefined) return
    entry.before = recentOf(entry)
    entry.since = new Sums()
  }

  /** Whether enough frames were counted since the mark, or since the version changed, to say something. */
  isMeasured(key: string): boolean {
    return (this.#entries.get(key)?.since.frames ?? 0) >= LEAST_FRAMES
  }

  /**
   * Logarithm of the cost since the mark, or since the version changed, over that before.
   *
   * @param before What it was before, where that is remembered elsewhere.
   */
  change(key: string, before?: LogCosts): LogCosts {
    const entry = this.#entries.get(key)
    if (entry === undefined) return {}
    const [now, then] = [entry.since.costs(), { ...entry.before, ...before }]
    const difference = (name: keyof LogCosts) =>
      now[name] === undefined || then[name] === undefined ? undefined : now[name] - then[name]
    return {
      latencyP95: difference('latencyP95'),
      joulesPerFrame: difference('joulesPerFrame'),
      bitsPerFrame: difference('bitsPerFrame'),
    }
  }
}

function recentOf({ full, filling }: Entry): LogCosts {
  return new Sums().add(full).add(filling).costs()
}
