import { type Decision, decide, logLikelihoodRatio, type SequentialTest, type Tally } from './sequential-test.ts'

/** What a second of frames came to, each figure divided by what the plan expects of the configuration that made it. */
export interface Second {
  /** Of each frame. */
  readonly latency: readonly number[]
  /** Mean of the frames; undefined where nobody measured. */
  readonly bits: number | undefined
  readonly joules: number | undefined
  /** Processor time, which other load on the machine hardly changes: a trial that begins as that load ends is not fooled. */
  readonly cpu: number | undefined
}

/**
 * A second counts against the new version where it is worse than so many times what the old one gave, each measured by
 * its own expectations: scene and machine fall out, and so does a version that is meant to cost more and says so.
 */
const TOLERANCE = 1.25
/** Together at most 0.5 % of the versions that are no worse are rolled back. */
const ALPHA = 0.001
const BETA = 0.01
/** Frames of a second that may be above the old 95th percentile before the second counts: of twenty, one would be. */
const LATE_SHARE = 0.2
const MIN_SECONDS_BEFORE = 5
/** Undecided after that, the likelier hypothesis holds (Wald 1945, section 3.8: truncation). */
const MAX_SECONDS = 300

const LATENCY: SequentialTest = { acceptable: 0.05, unacceptable: 0.4, alpha: ALPHA, beta: BETA }
/** Half of the seconds are above the old median where nothing has changed, and fewer above 1.25 times that. */
const MEAN: SequentialTest = { acceptable: 0.5, unacceptable: 0.8, alpha: ALPHA, beta: BETA }

export interface Metric {
  /** The old version's, relative to its expectations: 95th percentile of frames, or median of seconds. */
  readonly before: number
  /** The same of the new one. */
  readonly now: number
  readonly seconds: number
  readonly worseSeconds: number
  readonly decision: Decision
}

export interface Verdict {
  readonly decision: 'passed' | 'regressed' | 'open'
  readonly reason?: string
  readonly metrics: Readonly<Record<string, Metric>>
}

function quantileOf(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

function measure(
  test: SequentialTest,
  before: readonly number[],
  now: readonly number[],
  share: number,
  tally: Tally,
): Metric | undefined {
  if (before.length === 0 || now.length === 0) return undefined
  const decision = decide(test, tally)
  return {
    before: quantileOf(before, share),
    now: quantileOf(now, share),
    seconds: tally.observed,
    worseSeconds: tally.exceeded,
    decision: decision === 'open' && tally.observed >= MAX_SECONDS ? likelier(test, tally) : decision,
  }
}

const likelier = (test: SequentialTest, tally: Tally): Decision =>
  logLikelihoodRatio(test, tally) > 0 ? 'unacceptable' : 'acceptable'

function judgeLatency(before: readonly Second[], now: readonly Second[]): Metric | undefined {
  const all = before.flatMap(({ latency }) => latency)
  if (all.length === 0) return undefined
  const limit = TOLERANCE * quantileOf(all, 0.95)
  const late = now.filter(({ latency }) => latency.filter((each) => each > limit).length > LATE_SHARE * latency.length)
  const tally = { exceeded: late.length, observed: now.length }
  return measure(
    LATENCY,
    all,
    now.flatMap(({ latency }) => latency),
    0.95,
    tally,
  )
}

/** @param figureOf One for each second; undefined where nobody measured. */
function judgeMedian(
  figureOf: (second: Second) => number | undefined,
  before: readonly Second[],
  now: readonly Second[],
): Metric | undefined {
  const [old, fresh] = [before, now].map((seconds) => seconds.flatMap((second) => figureOf(second) ?? []))
  if (old!.length < MIN_SECONDS_BEFORE) return undefined
  const limit = TOLERANCE * quantileOf(old!, 0.5)
  const tally = { exceeded: fresh!.filter((value) => value > limit).length, observed: fresh!.length }
  return measure(MEAN, old!, fresh!, 0.5, tally)
}

const NAMES: Readonly<Record<string, string>> = {
  latency: 'p95 latency',
  medianLatency: 'median latency',
  bits: 'bits/frame',
  joules: 'J/frame',
  cpu: 'processor time/frame',
}

/** Whether there is enough of the old version to compare with. */
export function isBaseline(before: readonly Second[]): boolean {
  return before.length >= MIN_SECONDS_BEFORE
}

/**
 * Judge a new version by the seconds that it had so far against those of the old one before it.
 *
 * @param before Newest seconds of the old version.
 * @param now All seconds of the new one.
 * @returns `regressed` as soon as one of latency, joules, bits and processor time is decided against it, `passed` once all that were
 * measured are decided for it.
 */
export function judgeTrial(before: readonly Second[], now: readonly Second[]): Verdict {
  const found = {
    latency: judgeLatency(before, now),
    // A tail of a twentieth of the frames hides in the 95th percentile what happens to all of them.
    medianLatency: judgeMedian(({ latency }) => quantileOf(latency, 0.5), before, now),
    bits: judgeMedian(({ bits }) => bits, before, now),
    joules: judgeMedian(({ joules }) => joules, before, now),
    cpu: judgeMedian(({ cpu }) => cpu, before, now),
  }
  const metrics: Record<string, Metric> = {}
  for (const [name, metric] of Object.entries(found)) if (metric !== undefined) metrics[name] = metric
  const worse = Object.entries(metrics).find(([, { decision }]) => decision === 'unacceptable')
  if (worse !== undefined) {
    const [name, { before: old, now: fresh, seconds, worseSeconds }] = worse
    return {
      decision: 'regressed',
      reason: `${NAMES[name]} is ${(fresh / old).toFixed(2)} times what it was, each against its own expectations: worse than ${TOLERANCE} times in ${worseSeconds} of ${seconds} seconds`,
      metrics,
    }
  }
  const isDecided = Object.values(metrics).every(({ decision }) => decision === 'acceptable')
  return { decision: isDecided && metrics.latency !== undefined ? 'passed' : 'open', metrics }
}
