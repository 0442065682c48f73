import { atLeast, atMost, type Findings } from './checks.ts'
import { type OfflineResult, type OfflineSettings, runOffline } from './offline-run.ts'

interface Run {
  readonly seed: number
  readonly sharePct: number
  readonly connected: OfflineResult
  readonly cut: OfflineResult
}

const SEEDS = [1, 2, 3]
const CUT_S = 1800

/** Thirty virtual minutes without a controller, against the same thirty with one that plans every ten seconds. */
export async function benchOffline(modelsDir: string, onRun: (line: string) => void): Promise<Findings> {
  const runs: Run[] = []
  for (const seed of SEEDS) {
    const settings: Omit<OfflineSettings, 'isCut'> = {
      modelsDir,
      devices: 8,
      seed,
      learnS: 300,
      cutS: CUT_S,
      rateBps: 250_000,
      powerW: 3.2,
    }
    const connected = await runOffline({ ...settings, isCut: false })
    const cut = await runOffline({ ...settings, isCut: true })
    const sharePct = (100 * cut.utility) / connected.utility
    onRun(`seed ${seed}: ${sharePct.toFixed(1)} % of the connected run's utility`)
    runs.push({ seed, sharePct, connected, cut })
  }
  const sum = (of: (run: Run) => number): number => runs.reduce((total, run) => total + of(run), 0)
  return {
    checks: [
      atMost(
        'seconds over a lease of rate, cut off',
        sum(({ cut }) => cut.rateViolations),
        0,
        's',
      ),
      atMost(
        'seconds over a lease of power, cut off',
        sum(({ cut }) => cut.powerViolations),
        0,
        's',
      ),
      atMost(
        'frames miscounted after replay',
        sum(({ cut }) => cut.miscounted.frames),
        0,
        '',
      ),
      atMost(
        'joules miscounted after replay',
        sum(({ cut }) => cut.miscounted.joules),
        0,
        'J',
      ),
      atMost(
        'events lost or told twice',
        sum(({ cut }) => Math.abs(cut.miscountedEvents)),
        0,
        '',
      ),
      atLeast('utility, of the connected run, worst seed', Math.min(...runs.map((run) => run.sharePct)), 95, '%'),
    ],
    details: { devices: 8, cutS: CUT_S, runs },
  }
}
