import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ConfigError } from '@espalier/shared/errors'
import type { Command } from 'commander'
import { atMost, type Findings } from '../bench/checks.ts'
import { DEFAULT_FAMILY_DIR, MODELS_DIR } from '../models.ts'
import { measureRecovery, VICTIMS } from '../recovery.ts'
import { runDemo } from './demo.ts'

interface Report extends Findings {
  readonly name: string
  readonly machine: string
  readonly date: string
}

/** Returns undefined where its data is absent, after saying so. */
type Bench = () => Promise<Findings | undefined>

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
/** Data that does not ship: beside the project, or where ESPALIER_DATA says. */
const DATA_DIR = process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data')
/** Four encoders at each of these take ten minutes; `espalier eval` has nine by default. */
const BENCH_ALPHAS = [0, 0.2, 0.4, 0.6, 0.8, 1]
const RESULTS_DIR = join(ROOT, 'docs/results')
/** What stands below it in a results page is written by hand and stays. */
const BY_HAND = '<!-- Below this line by hand. -->'

/** Each is loaded when it runs: every other command would wait for what benches import. */
const BENCHES: Readonly<Record<string, Bench>> = {
  async agent() {
    const { benchAgent } = await import('../bench/agent.ts')
    return benchAgent({ clip: join(MODELS_DIR, 'clip'), familyDir: DEFAULT_FAMILY_DIR })
  },

  async browser() {
    const { benchBrowser } = await import('../bench/browser.ts')
    return benchBrowser(DEFAULT_FAMILY_DIR, join(MODELS_DIR, 'clip'))
  },

  async codec() {
    const kodak = join(DATA_DIR, 'kodak')
    if (!existsSync(kodak)) {
      process.stderr.write(`SKIPPED codec: "${kodak}" is absent; set ESPALIER_DATA to a folder with kodak/\n`)
      return undefined
    }
    const { benchCodec } = await import('../bench/codec.ts')
    return benchCodec(DEFAULT_FAMILY_DIR, {
      kodak,
      clip: join(DATA_DIR, 'video/frames'),
      compared: join(ROOT, 'forge/training/runs/compared'),
      alphas: BENCH_ALPHAS,
    })
  },

  async dashboard() {
    const { benchDashboard } = await import('../bench/dashboard.ts')
    return benchDashboard()
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

  async forge() {
    if (!existsSync(DATA_DIR)) {
      process.stderr.write(
        `SKIPPED forge: "${DATA_DIR}" is absent; set ESPALIER_DATA to a folder with cifar10/ and models/\n`,
      )
      return undefined
    }
    const { benchForge } = await import('../bench/forge.ts')
    return benchForge({ dataDir: DATA_DIR, classifiers: join(ROOT, 'forge/training/runs/classifiers') })
  },

  async planner() {
    const { benchPlanner } = await import('../bench/planner.ts')
    return benchPlanner()
  },

  async offline() {
    const { benchOffline } = await import('../bench/offline.ts')
    return benchOffline(MODELS_DIR, (line) => process.stderr.write(`offline: ${line}\n`))
  },

  async 'power-cut'() {
    const { benchPowerCut } = await import('../bench/power-cut.ts')
    return benchPowerCut((line) => process.stderr.write(`power-cut: ${line}\n`))
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

  async sim() {
    const { benchSim } = await import('../bench/sim.ts')
    return benchSim(DATA_DIR)
  },

  async rollout() {
    const { benchRollout } = await import('../bench/rollout.ts')
    return benchRollout(DEFAULT_FAMILY_DIR)
  },

  async swap() {
    const { benchSwap } = await import('../bench/swap.ts')
    return benchSwap((line) => process.stderr.write(`swap: ${line}\n`))
  },
}

function describeMachine(): string {
  const [first] = cpus()
  const gigabytes = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores of ${first?.model.trim()}, ${gigabytes} GiB, ${process.arch}, Node ${process.versions.node}`
}

function toMarkdown({ name, machine, date, checks, page, plots }: Report): string {
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
    ...(page === undefined ? [] : [page]),
    ...Object.keys(plots ?? {}).flatMap((file) => [`![${file}](${name}-${file})`, '']),
  ].join('\n')
}

/** Replace what was measured on a page and keep what was written. */
async function writePage(path: string, measured: string): Promise<void> {
  const page = await readFile(path, 'utf8').catch(() => '')
  const at = page.indexOf(BY_HAND)
  await writeFile(path, `${measured}${at === -1 ? '' : `\n${page.slice(at)}`}`)
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
    const found = await runBench(each)
    if (found === undefined) continue
    const { plots, page, ...report } = found
    reports.push(report)
    if (!options.json)
      for (const c of report.checks)
        process.stdout.write(`${c.ok ? 'ok  ' : 'FAIL'} ${c.name}: ${c.value} ${c.unit} (${c.limit} ${c.unit})\n`)
    if (name === 'all' || options.write) {
      await mkdir(RESULTS_DIR, { recursive: true })
      await writeFile(join(RESULTS_DIR, `${each}.json`), `${JSON.stringify(report, undefined, 2)}\n`)
      await writePage(join(RESULTS_DIR, `${each}.md`), toMarkdown(found))
      for (const [file, svg] of Object.entries(plots ?? {})) await writeFile(join(RESULTS_DIR, `${each}-${file}`), svg)
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
