import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseBandwidthTrace } from '@espalier/controller/sim/bandwidth-trace'
import { runSeeds } from '@espalier/controller/sim/run-seeds'
import { type PolicySummary, summarise } from '@espalier/controller/sim/summarise'

const SCALE = { devices: 200, hours: 1, policies: ['ours', 'static-best', 'alert-like', 'lyapunov'] }
const SEEDS = [1, 2]

/** @returns Undefined where the folder is absent or empty. @throws {SyntaxError} If a file in it is no trace. */
async function readTraces(folder: string) {
  const names = await readdir(folder).catch(() => [])
  const files = names.filter((name) => /\.(txt|log|json|csv|down|up)$/.test(name)).sort()
  if (files.length === 0) return undefined
  return Promise.all(
    files.map(async (name) => {
      const text = await readFile(join(folder, name), 'utf8')
      parseBandwidthTrace(name, text)
      return { name, text }
    }),
  )
}

export interface TraceDriven {
  readonly files: readonly string[]
  readonly policies: readonly PolicySummary[]
}

/** The same fleet under recorded uplinks: no limit is stated for it, for nobody can say what a trace holds. */
export async function simulateTraces(dataDir: string): Promise<TraceDriven | undefined> {
  const folder = join(dataDir, 'bandwidth')
  const traces = await readTraces(folder)
  if (traces === undefined) {
    process.stderr.write(
      `SKIPPED sim under recorded uplinks: no trace in "${folder}"; put Mahimahi, Pensieve or Sabre files there\n`,
    )
    return undefined
  }
  const seeds = await runSeeds(SEEDS, { options: SCALE, traces }, () => {})
  return { files: traces.map(({ name }) => name), policies: summarise(seeds) }
}

export function describeTraces(found: TraceDriven | undefined): string {
  if (found === undefined) return 'Under recorded uplinks: **skipped**, no traces were there.\n'
  const rows = found.policies.map(
    (p) =>
      `| ${p.policy} | ${p.utilityPct.mean.toFixed(1)} | ${(100 * p.siteViolations.mean).toFixed(2)} (${(100 * p.avoidableViolations.mean).toFixed(2)}) |`,
  )
  return [
    `Under recorded uplinks (${found.files.length} traces, ${SCALE.hours} h, seeds ${SEEDS.join(', ')}):`,
    '',
    '| policy | utility % | site violations % (avoidable) |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}
