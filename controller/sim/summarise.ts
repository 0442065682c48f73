import { studentT95 } from '@espalier/shared/student-t'
import type { PolicyResult, SeedResult } from './simulate.ts'

/** A mean with half the width of its 95 % interval over seeds. */
export interface Mean {
  readonly mean: number
  /** Undefined for one seed. */
  readonly halfWidth: number | undefined
}

const MEASURES = [
  'utilityPct',
  'powerW',
  'siteViolations',
  'avoidableViolations',
  'overshoot',
  'powerViolations',
  'late',
  'reloads',
  'switches',
] as const
export type Measure = (typeof MEASURES)[number]
export type PolicySummary = { readonly policy: string; readonly tenths: readonly number[] } & Readonly<
  Record<Measure, Mean>
>

export function meanOf(values: readonly number[]): Mean {
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  if (values.length < 2) return { mean, halfWidth: undefined }
  const variance = values.reduce((total, v) => total + (v - mean) ** 2, 0) / (values.length - 1)
  return { mean, halfWidth: studentT95(values.length - 1) * Math.sqrt(variance / values.length) }
}

/** Each policy over all seeds. */
export function summarise(seeds: readonly SeedResult[]): PolicySummary[] {
  return seeds[0]!.policies.map(({ policy }, p) => {
    const runs: PolicyResult[] = seeds.map(({ policies }) => policies[p]!)
    const measures = Object.fromEntries(MEASURES.map((m) => [m, meanOf(runs.map((run) => run[m]))]))
    const tenths = runs[0]!.utilityPctByTenth.map((_, k) => meanOf(runs.map((run) => run.utilityPctByTenth[k]!)).mean)
    return { policy, tenths, ...(measures as Record<Measure, Mean>) }
  })
}
