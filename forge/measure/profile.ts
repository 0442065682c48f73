import { fork } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ModelError } from '@espalier/shared/errors'
import type { ProfileOrder, ProfilePoint, ProfileReply, ProfileSubject } from './profile-messages.ts'

/** A child runs built JavaScript, also when this file is read from TypeScript. */
const WORKER = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../dist/measure/profile-worker.js' : './profile-worker.js',
    import.meta.url,
  ),
)

/** How joules are had on this machine. */
export interface EnergyReader {
  /** As in telemetry, e.g. `rapl:package-0` or `model:utilisation`. */
  readonly source: string
  /** Relative half-width of the 95 % interval. */
  readonly uncertainty: number
  /** Begin a span. @returns Ends it: joules above idle for each CPU second that a process used meanwhile. */
  begin(): (cpuSeconds: number) => number
}

/** One configuration as it was measured here: what a card says. */
export interface Profile extends ProfileSubject, ProfilePoint {
  /** Runs that were timed, over all visits. */
  readonly samples: number
  readonly latencyMs: { readonly p50: number; readonly p95: number }
  /** Lowest and highest median of a visit: how far the machine itself moves. */
  readonly medianMs: { readonly low: number; readonly high: number }
  /** Above idle. */
  readonly joulesPerFrame: {
    readonly value: number
    readonly source: string
    readonly interval: readonly [number, number]
  }
  /** Of a process that holds this variant and nothing else. */
  readonly rssBytes: number
}

export interface ProfileOptions {
  readonly familyDir: string
  readonly subjects: readonly ProfileSubject[]
  readonly points: readonly ProfilePoint[]
  readonly energy: EnergyReader
  /** Visits to each subject, each in a fresh process. */
  readonly rounds?: number
  readonly warmUpMs?: number
  readonly runs?: number
  /** Rest after each visit, so that one does not heat the next. */
  readonly coolDownMs?: number
  readonly seed?: number
  readonly onProgress?: (done: number, of: number) => void
  /** A backend that this machine lacks is left out, after saying so here. */
  readonly onAbsent?: (subject: ProfileSubject, reason: string) => void
}

/** The same numbers for the same seed, in [0, 1): an order needs no better than Park and Miller's generator. */
function randomNumbers(seed: number): () => number {
  let state = (seed % 2147483646) + 1
  return () => {
    state = (state * 48271) % 2147483647
    return state / 2147483647
  }
}

export function shuffled<Item>(items: readonly Item[], next: () => number): Item[] {
  const order = [...items]
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1))
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  return order
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
}

function visit(order: ProfileOrder): Promise<ProfileReply> {
  return new Promise((resolve, reject) => {
    const child = fork(WORKER, { serialization: 'advanced', execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    let complaint = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-500)
    })
    let reply: ProfileReply | undefined
    child.once('message', (message: ProfileReply) => {
      reply = message
    })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      const { variant, backend, threads } = order.subject
      if (reply === undefined)
        reject(
          new ModelError(
            `Cannot profile "${variant}" on ${backend} with ${threads} threads: its process ended with ${signal ?? `code ${code}`}; ${complaint.trim()}`,
          ),
        )
      else resolve(reply)
    })
    child.send(order, () => undefined)
  })
}

interface Visits {
  readonly latencyMs: number[]
  readonly medians: number[]
  readonly joules: number[]
  readonly rss: number[]
}

/**
 * Measure all configurations of a family on this machine: each round visits every subject in an order drawn anew, in a
 * process of its own, warms up, times, and rests.
 *
 * @returns One profile for each subject and point, in that order; none for a subject that this machine cannot run.
 * @throws {ModelError} If a variant cannot run for another reason than an absent backend.
 */
export async function profile(options: ProfileOptions): Promise<Profile[]> {
  const { familyDir, subjects, points, energy, onProgress, onAbsent } = options
  const { rounds = 3, warmUpMs = 500, runs = 10, coolDownMs = 200, seed = 1 } = options
  const next = randomNumbers(seed)
  const visits = new Map<string, Visits>()
  const keyOf = (subject: ProfileSubject, point: ProfilePoint): string => JSON.stringify([subject, point])
  const absent = new Set<ProfileSubject>()
  let done = 0
  for (let round = 0; round < rounds; round++)
    for (const subject of shuffled(subjects, next)) {
      onProgress?.(++done, rounds * subjects.length)
      if (absent.has(subject)) continue
      const endSpan = energy.begin()
      const reply = await visit({ familyDir, subject, points: shuffled(points, next), warmUpMs, runs })
      if (reply.kind === 'failed') {
        if (!reply.isAbsent) throw new ModelError(reply.reason)
        absent.add(subject)
        onAbsent?.(subject, reply.reason)
        continue
      }
      const joulesPerCpuSecond = endSpan(reply.cpuSeconds)
      for (const { point, latencyMs, cpuSeconds } of reply.times) {
        const key = keyOf(subject, point)
        const own = visits.get(key) ?? { latencyMs: [], medians: [], joules: [], rss: [] }
        visits.set(key, own)
        own.latencyMs.push(...latencyMs)
        own.medians.push(quantile(latencyMs, 0.5))
        own.joules.push((joulesPerCpuSecond * cpuSeconds) / latencyMs.length)
        own.rss.push(reply.rssBytes)
      }
      await delay(coolDownMs)
    }
  return subjects.flatMap((subject) =>
    points.flatMap((point): Profile[] => {
      const own = visits.get(keyOf(subject, point))
      if (own === undefined) return []
      const value = quantile(own.joules, 0.5)
      const { source, uncertainty } = energy
      return [
        {
          ...subject,
          ...point,
          samples: own.latencyMs.length,
          latencyMs: { p50: quantile(own.latencyMs, 0.5), p95: quantile(own.latencyMs, 0.95) },
          medianMs: { low: Math.min(...own.medians), high: Math.max(...own.medians) },
          joulesPerFrame: {
            value,
            source,
            interval: [value * Math.max(0, 1 - uncertainty), value * (1 + uncertainty)] as const,
          },
          rssBytes: quantile(own.rss, 0.5),
        },
      ]
    }),
  )
}
