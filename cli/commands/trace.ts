import { readFile, writeFile } from 'node:fs/promises'
import { POLICIES } from '@espalier/controller/sim/policies'
import { type Replay, replayTrace } from '@espalier/controller/trace/replay'
import { parseTrace } from '@espalier/controller/trace/trace'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { type Command, Option } from 'commander'
import { requestApi } from '../fleet-api.ts'
import { parsePolicies } from '../parse-policies.ts'

interface ExportOptions {
  readonly api: string
  readonly minutes: string
  readonly device?: string
}

/** @throws {TransportError} If there is nothing to export. */
async function exportTrace(file: string, { api, minutes, device }: ExportOptions): Promise<void> {
  const query = new URLSearchParams({ minutes, ...(device === undefined ? {} : { device }) })
  const text = await requestApi(api, `trace?${query}`, {})
  const { header, epochs } = parseTrace(file, text)
  await writeFile(file, text)
  process.stderr.write(`${file}: ${epochs.length} epochs of ${header.epochS} s, ${header.slots.length} slots\n`)
}

interface ReplayOptions {
  readonly policy: readonly string[]
  readonly plot?: string
  readonly json?: true
}

function printReplay({ slots, epochs, policies }: Replay): void {
  const head = ['policy', 'utility %', 'gap', 'power W', 'uplink %', 'power %', 'late %', 'reloads/h', 'changes/h']
  const rows = policies.map((p) => [
    p.policy,
    p.utilityPct.toFixed(2),
    (100 - p.utilityPct).toFixed(2),
    p.powerW.toFixed(2),
    ...[p.siteViolations, p.powerViolations].map((share) => (100 * share).toFixed(2)),
    (100 * p.late).toFixed(3),
    p.reloads.toFixed(1),
    p.switches.toFixed(1),
  ])
  process.stdout.write(`${slots} slots, ${epochs} epochs; 100 % is the clairvoyant with free changes\n`)
  for (const row of [head, ...rows])
    process.stdout.write(`${row.map((cell, k) => (k === 0 ? cell.padEnd(18) : cell.padStart(10))).join('')}\n`)
}

async function replay(file: string, { policy, plot, json }: ReplayOptions): Promise<void> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new ConfigError(
      `Cannot read trace "${file}": ${describeError(error)}; "espalier trace export <file>" writes one`,
    )
  })
  const result = replayTrace(parseTrace(file, text), policy)
  if (plot !== undefined) {
    const { plotPolicies } = await import('../plot-policies.ts')
    await writeFile(plot, plotPolicies(`Replay of ${result.slots} slots`, result.policies))
  }
  if (json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
  else printReplay(result)
}

export function registerTraceCommands(program: Command): void {
  const trace = program.command('trace').description('what a controller has recorded of its fleet')
  trace
    .command('export')
    .description('write the last minutes of telemetry as a trace for "espalier replay"')
    .argument('<file>', 'JSON lines, docs/formats.md "Traces"')
    .addOption(
      new Option('--api <url>', 'where the controller answers').env('ESPALIER_API').default('http://127.0.0.1:8080'),
    )
    .option('--minutes <n>', 'how far back; a controller keeps about 20 minutes at a message a second', '20')
    .option('--device <id>', 'of one device alone')
    .action(exportTrace)
  program
    .command('replay')
    .description('what each policy would have made of a recorded fleet, against the clairvoyant')
    .argument('<trace>', 'file of "espalier trace export"')
    .option(
      '--policy <names>',
      `all, or some of ${Object.keys(POLICIES).join(',')}`,
      parsePolicies,
      Object.keys(POLICIES),
    )
    .option('--plot <file.svg>', 'draw the utilities')
    .option('--json', 'print one JSON document')
    .action(replay)
}
