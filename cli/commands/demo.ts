import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { formatPower, formatRate } from '@espalier/shared/units'
import type { Command } from 'commander'
import { callApi, type DeviceTotals, getDevices, getTotals } from '../fleet-api.ts'
import { freePort } from '../free-port.ts'
import { LOCAL_DEVICE, type LocalFleet, startLocalFleet, waitFor } from '../local-fleet.ts'
import { CLIP_DIR, MODELS_DIR } from '../models.ts'

/** What a phase does to the budgets; undefined removes the budget. */
interface Phase {
  readonly name: string
  readonly budgets: (ample: { rateBps: number; powerW: number }) => { rateBps?: number; powerW?: number }
}

const PHASES: readonly Phase[] = [
  { name: 'ample', budgets: () => ({}) },
  { name: 'uplink squeezed to a quarter', budgets: ({ rateBps }) => ({ rateBps: Math.floor(rateBps / 4) }) },
  { name: 'power squeezed', budgets: ({ powerW }) => ({ powerW }) },
  { name: 'released', budgets: () => ({}) },
]
/** A new device tries every backend first: half a minute where other work is done beside it. */
const START_MS = 120_000
/** The fleet gets this long to react before a phase is measured. */
const SETTLE_MS = 8000
const MEASURE_MS = 15_000
/** Of the power above idle in the ample phase, what the squeezed phase may use. */
const POWER_SHARE = 0.5

export interface PhaseResult {
  readonly name: string
  readonly uplinkBudgetBps: number | null
  readonly powerBudgetW: number | null
  readonly measuredBps: number
  readonly psnrDb: number | null
  readonly joulesPerFrame: number
  readonly powerW: number
  readonly latencyP95Ms: number
  readonly configuration: string
}

export interface DemoResult {
  readonly frames: number
  readonly dropped: number
  readonly swaps: number
  readonly phases: readonly PhaseResult[]
}

async function setBudget(url: string, key: string, budget: { rateBps?: number; powerW?: number }): Promise<void> {
  const isSet = Object.values(budget).some((value) => value !== undefined)
  if (isSet) await callApi(url, `budgets/${key}`, { method: 'PUT', body: budget })
  else await callApi(url, `budgets/${key}`, { method: 'DELETE' })
}

function difference(later: DeviceTotals, earlier: DeviceTotals): { seconds: number } & DeviceTotals {
  const psnrCount = later.psnrCount - earlier.psnrCount
  return {
    ...later,
    seconds: (later.atMs - earlier.atMs) / 1000,
    frames: later.frames - earlier.frames,
    bits: later.bits - earlier.bits,
    joules: later.joules - earlier.joules,
    deviceJoules: later.deviceJoules - earlier.deviceJoules,
    psnrSum: later.psnrSum - earlier.psnrSum,
    psnrCount,
  }
}

async function measurePhase(
  fleet: LocalFleet,
  phase: Phase,
  budget: { rateBps?: number; powerW?: number },
  signal: AbortSignal,
): Promise<PhaseResult & { idleW: number }> {
  await delay(SETTLE_MS, undefined, { signal })
  const before = await getTotals(fleet.url, LOCAL_DEVICE)
  await delay(MEASURE_MS, undefined, { signal })
  const after = await getTotals(fleet.url, LOCAL_DEVICE)
  const [device] = await getDevices(fleet.url)
  const measured = difference(after, before)
  return {
    name: phase.name,
    uplinkBudgetBps: budget.rateBps ?? null,
    powerBudgetW: budget.powerW ?? null,
    measuredBps: Math.round(measured.bits / measured.seconds),
    psnrDb: measured.psnrCount > 0 ? Number((measured.psnrSum / measured.psnrCount).toFixed(2)) : null,
    joulesPerFrame: Number((measured.joules / Math.max(1, measured.frames)).toFixed(3)),
    powerW: Number((measured.deviceJoules / measured.seconds).toFixed(3)),
    latencyP95Ms: Number((device?.latencyMs?.p95 ?? 0).toFixed(1)),
    configuration: device?.configurationId ?? '',
    idleW: after.idleW,
  }
}

/** Run every phase against real processes; at most two minutes. */
export async function runDemo(onPhase: (result: PhaseResult) => void, signal: AbortSignal): Promise<DemoResult> {
  const dataDir = await mkdtemp(join(tmpdir(), 'espalier-demo-'))
  const fleet = await startLocalFleet({
    dataDir,
    familiesDir: MODELS_DIR,
    clipDir: CLIP_DIR,
    frameRate: 5,
    port: await freePort(),
    mqttPort: await freePort(),
    onLine: (program, line) => {
      if (/"level":(50|60)\b/.test(line)) process.stderr.write(`${program}: ${line}\n`)
    },
  })
  try {
    const isRunning = async () => ((await getDevices(fleet.url))[0]?.frames ?? 0) > 5 || undefined
    await waitFor('a running device', isRunning, { timeoutMs: START_MS, signal })
    const phases: PhaseResult[] = []
    let ample = { rateBps: 0, powerW: 0 }
    for (const phase of PHASES) {
      const budget = phase.budgets(ample)
      await setBudget(fleet.url, 'site:local', budget.rateBps === undefined ? {} : { rateBps: budget.rateBps })
      await setBudget(fleet.url, 'fleet', budget.powerW === undefined ? {} : { powerW: budget.powerW })
      const { idleW, ...result } = await measurePhase(fleet, phase, budget, signal)
      if (phase.name === 'ample') {
        const powerW = idleW + POWER_SHARE * (result.powerW - idleW)
        ample = { rateBps: result.measuredBps, powerW: Math.ceil(powerW * 1000) / 1000 }
      }
      phases.push(result)
      onPhase(result)
    }
    const [device] = await getDevices(fleet.url)
    return { frames: device!.frames, dropped: device!.dropped + device!.unsent, swaps: device!.swaps, phases }
  } finally {
    await fleet.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
}

const COLUMNS: readonly [string, number, (phase: PhaseResult) => string][] = [
  ['phase', 30, (p) => p.name],
  ['uplink budget', 14, (p) => (p.uplinkBudgetBps === null ? '-' : formatRate(p.uplinkBudgetBps))],
  ['measured', 12, (p) => formatRate(p.measuredBps)],
  ['power budget', 13, (p) => (p.powerBudgetW === null ? '-' : formatPower(p.powerBudgetW))],
  ['power', 8, (p) => formatPower(p.powerW)],
  ['PSNR', 9, (p) => (p.psnrDb === null ? '-' : `${p.psnrDb} dB`)],
  ['J/frame', 8, (p) => p.joulesPerFrame.toFixed(2)],
  ['p95', 8, (p) => `${p.latencyP95Ms.toFixed(0)} ms`],
]

const row = (cells: readonly string[]): string =>
  cells
    .map((cell, i) => cell.padEnd(COLUMNS[i]![1]))
    .join(' ')
    .trimEnd()

async function demo({ json }: { json?: true }): Promise<void> {
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort())
  process.stderr.write(`${row(COLUMNS.map(([title]) => title))}\n`)
  const onPhase = (phase: PhaseResult) => process.stderr.write(`${row(COLUMNS.map(([, , cell]) => cell(phase)))}\n`)
  const result = await runDemo(onPhase, stopping.signal).catch((error: unknown) => {
    if (!stopping.signal.aborted) throw error
    return undefined
  })
  if (result === undefined) {
    process.exitCode = 1
    return
  }
  if (json) process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`)
  else process.stdout.write(`${result.frames} frames, ${result.dropped} dropped, ${result.swaps} swaps\n`)
  const isOver = ({ uplinkBudgetBps, measuredBps, powerBudgetW, powerW }: PhaseResult): boolean =>
    measuredBps > (uplinkBudgetBps ?? Number.POSITIVE_INFINITY) || powerW > (powerBudgetW ?? Number.POSITIVE_INFINITY)
  if (result.phases.some(isOver) || result.dropped > 0) process.exitCode = 1
}

export function registerDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('squeeze the uplink, then the power, of a local fleet; print what it did (about two minutes)')
    .option('--json', 'print one JSON document')
    .action(demo)
}
