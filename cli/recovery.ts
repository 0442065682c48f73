import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { InvariantError } from '@espalier/shared/errors'
import { callApi, getBudgets, getDevices } from './fleet-api.ts'
import { freePort } from './free-port.ts'
import { LOCAL_DEVICE, type LocalFleet, startLocalFleet, waitFor } from './local-fleet.ts'
import { randomSequence } from './random-sequence.ts'

export const VICTIMS = ['worker', 'agent', 'controller'] as const
export type Victim = (typeof VICTIMS)[number]

export interface Recovery {
  readonly victim: Victim
  readonly seconds: number
}

const BUDGET_KEY = 'site:local'
const BUDGET = { rateBps: 150_000 }
/** Frames that must have come through after a kill before the fleet counts as whole. */
const FRAMES_AFTER = 6

function childrenOf(pid: number): number[] {
  try {
    const listing = execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    return listing.split('\n').filter(Boolean).map(Number)
  } catch {
    // ps ends with 1 when there are none.
    return []
  }
}

function pidOf(fleet: LocalFleet, victim: Victim): number | undefined {
  if (victim === 'controller') return fleet.controller.pid()
  const agent = fleet.agent.pid()
  return victim === 'agent' || agent === undefined ? agent : childrenOf(agent)[0]
}

interface Snapshot {
  readonly frames: number
  readonly generation: number
}

async function snapshot(fleet: LocalFleet): Promise<Snapshot | undefined> {
  const device = (await getDevices(fleet.url)).find(({ id }) => id === LOCAL_DEVICE)
  return device === undefined ? undefined : { frames: device.frames, generation: device.desired?.gen ?? 0 }
}

async function checkNothingLost(fleet: LocalFleet, before: Snapshot): Promise<void> {
  const kept = (await getBudgets(fleet.url)).find(({ key }) => key === BUDGET_KEY)?.rateBps
  if (kept !== BUDGET.rateBps)
    throw new InvariantError(`The budget "${BUDGET_KEY}" was lost: found ${kept}, expected ${BUDGET.rateBps}`)
  const now = await snapshot(fleet)
  if (now === undefined || now.generation < before.generation || now.frames < before.frames)
    throw new InvariantError(
      `Committed state went back: found ${JSON.stringify(now)}, expected at least ${JSON.stringify(before)}`,
    )
}

/**
 * Kill one of the three processes without warning at a random moment, wait until frames flow again, and see that
 * budgets, generations and totals are still there.
 *
 * @param kills How often each is killed.
 * @throws {InvariantError} If committed state was lost.
 */
export async function measureRecovery(options: {
  kills: number
  seed: number
  modelsDir: string
  limitMs: number
  onRecovery?: (recovery: Recovery) => void
}): Promise<Recovery[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'espalier-recovery-'))
  const random = randomSequence(options.seed)
  const fleet = await startLocalFleet({
    dataDir,
    familiesDir: options.modelsDir,
    clipDir: join(options.modelsDir, 'clip'),
    frameRate: 5,
    port: await freePort(),
    mqttPort: await freePort(),
    onLine: () => {},
  })
  const within = { timeoutMs: options.limitMs }
  try {
    await waitFor('a running device', async () => ((await snapshot(fleet))?.frames ?? 0) > 2 || undefined, within)
    await callApi(fleet.url, `budgets/${BUDGET_KEY}`, { method: 'PUT', body: BUDGET })
    const recoveries: Recovery[] = []
    for (let kill = 0; kill < options.kills; kill++) {
      for (const victim of VICTIMS) {
        await delay(1500 * random())
        const before = await waitFor('the device', () => snapshot(fleet), within)
        const pid = await waitFor(`process "${victim}"`, async () => pidOf(fleet, victim), within)
        process.kill(pid, 'SIGKILL')
        const started = performance.now()
        const what = `after the ${victim} was killed (seed ${options.seed}, kill ${kill})`
        const isReplaced = async () => {
          const now = pidOf(fleet, victim)
          return now !== undefined && now !== pid ? true : undefined
        }
        await waitFor(`a new process ${what}`, isReplaced, within)
        // Telemetry is up to a second old: only what grows from here on was made after the kill.
        const resumed = await waitFor(`the device ${what}`, () => snapshot(fleet), within)
        const isFlowing = async () =>
          ((await snapshot(fleet))?.frames ?? 0) >= resumed.frames + FRAMES_AFTER || undefined
        await waitFor(`frames ${what}`, isFlowing, within)
        const recovery = { victim, seconds: (performance.now() - started) / 1000 }
        await checkNothingLost(fleet, before)
        recoveries.push(recovery)
        options.onRecovery?.(recovery)
      }
    }
    return recoveries
  } finally {
    await fleet.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
}
