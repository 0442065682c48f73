import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConfigError } from '@espalier/shared/errors'
import type { Command } from 'commander'
import { DEFAULT_FAMILY_DIR, MODELS_DIR } from '../models.ts'
import { measureRecovery, VICTIMS } from '../recovery.ts'
import { runDemo } from './demo.ts'
import { DEFAULT_ALPHAS, evaluateFolder } from './eval.ts'

/** One figure that an issue or a document states. */
interface Check {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** As stated: at most (`<=`) or at least (`>=`). */
  readonly limit: string
  readonly ok: boolean
}

interface Report {
  readonly name: string
  readonly machine: string
  readonly date: string
  readonly checks: readonly Check[]
  readonly details: unknown
}

type Findings = Pick<Report, 'checks' | 'details'>
/** Returns undefined where its data is absent, after saying so. */
type Bench = () => Promise<Findings | undefined>

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** Data that does not ship: beside the project, or where ESPALIER_DATA says. */
const DATA_DIR = process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data')
const RESULTS_DIR = join(ROOT, 'docs/results')

const atMost = (name: string, value: number, limit: number, unit: string): Check => ({
  name,
  value: Number(value.toPrecision(5)),
  unit,
  limit: `<= ${limit}`,
  ok: value <= limit,
})

const BENCHES: Readonly<Record<string, Bench>> = {
  async codec() {
    const kodak = join(DATA_DIR, 'kodak')
    if (!existsSync(kodak)) {
      process.stderr.write(`SKIPPED codec: "${kodak}" is absent; set ESPALIER_DATA to a folder with kodak/\n`)
      return undefined
    }
    const evaluation = await evaluateFolder(kodak, { alphas: DEFAULT_ALPHAS, family: DEFAULT_FAMILY_DIR, threads: 2 })
    return {
      checks: [atMost('BD-rate against JPEG 4:2:0 on Kodak', evaluation.bdRatePct.jpeg420, -30, '%')],
      details: evaluation,
    }
  },

  async demo() {
    const result = await runDemo(({ name }) => process.stderr.write(`demo: ${name}\n`), new AbortController().signal)
    const squeezed = result.phases.flatMap((phase) => [
      ...(phase.uplinkBudgetBps === null
        ? []
        : [atMost(`rate, ${phase.name}`, phase.measuredBps, phase.uplinkBudgetBps, 'bit/s')]),
      ...(phase.powerBudgetW === null ? [] : [atMost(`power, ${phase.name}`, phase.powerW, phase.powerBudgetW, 'W')]),
    ])
    return { checks: [atMost('frames dropped', result.dropped, 0, ''), ...squeezed], details: result }
  },

  async recovery() {
    const recoveries = await measureRecovery({
      kills: 20,
      seed: 1,
      modelsDir: MODELS_DIR,
      limitMs: 60_000,
      onRecovery: ({ victim, seconds }) => process.stderr.write(`recovery: ${victim} ${seconds.toFixed(1)} s\n`),
    })
    const checks = VICTIMS.map((victim) => {
      const worst = Math.max(...recoveries.filter((r) => r.victim === victim).map(({ seconds }) => seconds))
      return atMost(`worst of 20 recoveries, ${victim} killed`, worst, 10, 's')
    })
    return { checks, details: recoveries }
  },
}

function describeMachine(): string {
  const [first] = cpus()
  const gigabytes = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores of ${first?.model.trim()}, ${gigabytes} GiB, ${process.arch}, Node ${process.versions.node}`
}

function toMarkdown({ name, machine, date, checks }: Report): string {
  const rows = checks.map(
    (c) => `| ${c.name} | ${c.value} ${c.unit} | ${c.limit} ${c.unit} | ${c.ok ? 'yes' : '**no**'} |`,
  )
  return [
    `# ${name}`,
    '',
    `\`npm run -s bench -- ${name} --json\` on ${machine}, ${date}. All figures: [${name}.json](${name}.json).`,
    '',
    '| what | measured | limit | holds |',
    '|---|---|---|---|',
    ...rows,
    '',
  ].join('\n')
}

async function runBench(name: string): Promise<Report | undefined> {
  const findings = await BENCHES[name]!()
  if (findings === undefined) return undefined
  return { name, machine: describeMachine(), date: new Date().toISOString().slice(0, 10), ...findings }
}

async function bench(name: string, options: { json?: true; write?: true }): Promise<void> {
  if (name !== 'all' && !(name in BENCHES))
    throw new ConfigError(`Cannot run bench "${name}": expected all, ${Object.keys(BENCHES).join(', ')}`)
  const reports: Report[] = []
  for (const each of name === 'all' ? Object.keys(BENCHES) : [name]) {
    const report = await runBench(each)
    if (report === undefined) continue
    reports.push(report)
    if (!options.json)
      for (const c of report.checks)
        process.stdout.write(`${c.ok ? 'ok  ' : 'FAIL'} ${c.name}: ${c.value} ${c.unit} (${c.limit} ${c.unit})\n`)
    if (name === 'all' || options.write) {
      await mkdir(RESULTS_DIR, { recursive: true })
      await writeFile(join(RESULTS_DIR, `${each}.json`), `${JSON.stringify(report, undefined, 2)}\n`)
      await writeFile(join(RESULTS_DIR, `${each}.md`), toMarkdown(report))
    }
  }
  if (options.json)
    process.stdout.write(`${JSON.stringify(name === 'all' ? reports : (reports[0] ?? null), undefined, 2)}\n`)
  if (reports.some(({ checks }) => checks.some(({ ok }) => !ok))) process.exitCode = 1
}

export function registerBenchCommand(program: Command): void {
  program
    .command('bench')
    .description('measure every figure that the documents state; "all" also rewrites docs/results')
    .argument('<name>', `all, ${Object.keys(BENCHES).join(', ')}`)
    .option('--json', 'print one JSON document')
    .option('--write', 'rewrite this one in docs/results')
    .action(bench)
}
