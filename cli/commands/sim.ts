import { readFile, writeFile } from 'node:fs/promises'
import { parseBandwidthTrace } from '@espalier/controller/sim/bandwidth-trace'
import { POLICIES } from '@espalier/controller/sim/policies'
import { runSeeds } from '@espalier/controller/sim/run-seeds'
import { type PolicySummary, summarise } from '@espalier/controller/sim/summarise'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError } from 'commander'
import { parsePolicies } from '../parse-policies.ts'
import { barsOf } from '../policy-bars.ts'
import { startProgress } from '../progress.ts'

interface Options {
  readonly devices: number
  readonly hours: number
  readonly policy: readonly string[]
  readonly seeds: number
  readonly bandwidth?: readonly string[]
  readonly plot?: string
  readonly json?: true
}

function parsePositive(text: string): number {
  const value = Number(text)
  if (!(value > 0 && value <= 1e5)) throw new InvalidArgumentError('Expected a number above 0 and at most 100000.')
  return value
}

function parseCount(text: string): number {
  const count = parsePositive(text)
  if (!Number.isInteger(count)) throw new InvalidArgumentError('Expected a whole number.')
  return count
}

async function readTrace(path: string): Promise<{ name: string; text: string }> {
  try {
    const trace = { name: path, text: await readFile(path, 'utf8') }
    // Said here, before any thread starts.
    parseBandwidthTrace(trace.name, trace.text)
    return trace
  } catch (error) {
    if (error instanceof SyntaxError) throw error
    throw new ConfigError(`Cannot read bandwidth trace "${path}": ${describeError(error)}`)
  }
}

function printTable(policies: readonly PolicySummary[]): void {
  const head = [
    'policy',
    'utility %',
    '+-',
    'power W',
    'uplink %',
    'avoidable',
    'power %',
    'late %',
    'reloads/h',
    'changes/h',
  ]
  const rows = policies.map((p) => [
    p.policy,
    p.utilityPct.mean.toFixed(2),
    p.utilityPct.halfWidth?.toFixed(2) ?? '-',
    p.powerW.mean.toFixed(0),
    ...[p.siteViolations, p.avoidableViolations, p.powerViolations].map(({ mean }) => (100 * mean).toFixed(2)),
    (100 * p.late.mean).toFixed(3),
    p.reloads.mean.toFixed(2),
    p.switches.mean.toFixed(1),
  ])
  for (const row of [head, ...rows])
    process.stdout.write(`${row.map((cell, k) => (k === 0 ? cell.padEnd(18) : cell.padStart(10))).join('')}\n`)
}

async function sim({ devices, hours, policy, seeds, bandwidth, plot, json }: Options): Promise<void> {
  const traces = await Promise.all((bandwidth ?? []).map(readTrace))
  const progress = startProgress('simulating')
  const numbers = Array.from({ length: seeds }, (_, k) => k + 1)
  const results = await runSeeds(
    numbers,
    { options: { devices, hours, policies: policy }, traces },
    progress.update,
  ).finally(progress.stop)
  const policies = summarise(results)
  if (plot !== undefined) {
    const { plotPolicies } = await import('../plot-policies.ts')
    await writeFile(plot, plotPolicies(`${devices} simulated devices, ${hours} h, ${seeds} worlds`, barsOf(policies)))
  }
  if (json)
    process.stdout.write(`${JSON.stringify({ devices, hours, seeds: numbers, policies, results }, undefined, 2)}\n`)
  else printTable(policies)
}

export function registerSimCommand(program: Command): void {
  program
    .command('sim')
    .description('play policies in a simulated fleet; the controller runs in it with its own estimator and planner')
    .option('--devices <n>', 'devices, 50 to a site', parseCount, 200)
    .option('--hours <h>', 'simulated hours; the first ten minutes do not count', parsePositive, 1)
    .option(
      '--policy <names>',
      `all, or some of ${Object.keys(POLICIES).join(',')}`,
      parsePolicies,
      Object.keys(POLICIES),
    )
    .option('--seeds <n>', 'worlds 1 to n; more than one gives confidence intervals', parseCount, 1)
    .option('--bandwidth <files...>', 'uplinks from traces (Mahimahi, Pensieve, Sabre), scaled to each site')
    .option('--plot <file.svg>', 'draw the utilities')
    .option('--json', 'print one JSON document')
    .action(sim)
}
