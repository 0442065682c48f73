import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { CONTROLLER_USER, startBroker } from '@espalier/controller/broker/embedded-broker'
import { openMqttLink } from '@espalier/controller/broker/mqtt-link'
import { loadConfig } from '@espalier/controller/config'
import { startController } from '@espalier/controller/main'
import { systemClock } from '@espalier/shared/clock'
import { configurationSchema } from '@espalier/shared/configuration'
import { type Digest, deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { desiredSchema } from '@espalier/shared/messages/controller'
import { type Reported, reportedSchema, type Telemetry, telemetrySchema } from '@espalier/shared/messages/device'
import { parseMessage } from '@espalier/shared/messages/envelope'
import { parseUpTopic } from '@espalier/shared/messages/topics'
import { pino } from 'pino'
import { waitFor } from '../local-fleet.ts'
import { CLIP_DIR, DEFAULT_FAMILY_DIR } from '../models.ts'
import { agentProgram } from '../node-programs.ts'
import { supervise } from '../supervise.ts'
import { makeSecondVersion } from './second-version.ts'

const DEVICE = deviceIdSchema.parse('power-cut')
const SLOT = slotIdSchema.parse('cam0')
const SIZE = { width: 128, height: 72, frameRate: 5 }
/** From an order to its end, on a machine with nothing else to do. */
const UPDATE_MS = 30_000
const PATIENCE_MS = 120_000
/** Frames of the new process after which the device counts as running. */
const FRAMES_AFTER = 3

export interface Kill {
  /** Where the update was. */
  readonly phase: string
  /** Until frames were done again. */
  readonly seconds: number
}

export interface KillRuns {
  readonly kills: readonly Kill[]
  /** Starts after which no frames came, or a version ran that nobody knows. */
  readonly unrunnable: number
  /** Files under `store/blobs` with other bytes than their name says, looked at after each kill. */
  readonly corrupt: number
  /** Where the last order, which nobody disturbed, ended. */
  readonly lastPhase: string
}

async function countCorrupt(dataDir: string): Promise<number> {
  const folder = join(dataDir, 'store', 'blobs')
  const names = await readdir(folder).catch(() => [])
  let corrupt = 0
  for (const name of names)
    if (
      createHash('sha256')
        .update(await readFile(join(folder, name)))
        .digest('hex') !== name
    )
      corrupt++
  return corrupt
}

/**
 * Kill a real agent process (SIGKILL) at random moments of updates between three versions, over its own disk, a real
 * broker and a real controller's blobs; see each time that it runs again.
 */
export async function runKills(options: {
  readonly kills: number
  /** In [0, 1). */
  readonly random: () => number
  readonly onKill: (kill: Kill) => void
}): Promise<KillRuns> {
  const home = await mkdtemp(join(tmpdir(), 'espalier-power-cut-'))
  const familiesDir = join(home, 'families')
  const dataDir = join(home, 'agent')
  const installed = (await openFamily(DEFAULT_FAMILY_DIR)).manifestDigest
  const ordered: Digest[] = []
  for (const [i, folder] of ['a', 'b'].entries())
    ordered.push(await makeSecondVersion(join(familiesDir, folder), 'as good', `9.${i}.0`))
  const log = pino({ level: 'silent' })
  const controllerPassword = 'of this run alone'
  const controller = await startController(
    loadConfig({ flags: { port: 0, mqttPort: 0, dataDir: join(home, 'controller'), familiesDir } }),
    log,
  )
  const broker = await startBroker({ host: '127.0.0.1', port: 0, controllerPassword, passwords: undefined })
  let reported: { readonly boot: string; readonly body: Reported } | undefined
  let telemetry: { readonly boot: string; readonly body: Telemetry } | undefined
  const link = openMqttLink({
    url: `mqtt://127.0.0.1:${broker.port}`,
    credentials: { username: CONTROLLER_USER, password: controllerPassword },
    clock: systemClock,
    log,
    onConnected: () => undefined,
    onMessage: (topic, payload, isRetained) => {
      if (isRetained) return
      const kind = parseUpTopic(topic)?.kind
      if (kind === 'reported') reported = parseMessage(payload, kind, reportedSchema)
      if (kind === 'telemetry') telemetry = parseMessage(payload, kind, telemetrySchema)
    },
  })
  const config = join(home, 'agent.json')
  const slot = {
    slot: SLOT,
    source: { kind: 'images', path: CLIP_DIR, frameRate: SIZE.frameRate },
    sink: { kind: 'discard' },
  }
  await writeFile(
    config,
    JSON.stringify({
      device: DEVICE,
      dataDir,
      mqttUrl: `mqtt://127.0.0.1:${broker.port}`,
      controllerUrl: controller.url,
      familyDir: DEFAULT_FAMILY_DIR,
      backends: ['wasm'],
      slots: [slot],
      // Every start but the last is killed: that is not what is looked at here.
      safeAfterStarts: 100,
      logLevel: 'silent',
    }),
  )
  const agent = supervise(
    {
      name: 'agent',
      ...agentProgram(),
      args: ['--config', config],
    },
    () => undefined,
  )
  let gen = 0
  const order = (manifestDigest: Digest): Promise<void> => {
    const fixed = { family: 'kodo', variant: 'tiny', alpha255: 128, mode: 'merged', backend: 'wasm', threads: 1 }
    const configuration = configurationSchema.parse({ ...fixed, ...SIZE })
    const ladder = [{ configuration, rateBps: 0, powerW: 0, utility: 1 }]
    const lease = { ttlS: 3600 }
    const wanted = { slot: SLOT, family: { manifestDigest }, ladder, lease, prices: { lambda: 0, mu: 0 } }
    return link.publishDesired(DEVICE, desiredSchema.parse({ gen: ++gen, telemetryIntervalS: 0.5, slots: [wanted] }))
  }
  const now = () => reported?.body.slots[0]
  const runsAgain = (what: string, lastBoot: string | undefined) =>
    waitFor(
      what,
      async () => {
        const { boot, body } = telemetry ?? {}
        return boot !== undefined && boot !== lastBoot && (body?.slots[0]?.frames ?? 0) >= FRAMES_AFTER
          ? boot
          : undefined
      },
      { timeoutMs: PATIENCE_MS },
    ).catch(() => undefined)
  const known = new Set([installed, ...ordered])
  let lastOrder = installed
  /** Order what neither runs nor was ordered last: one that failed is not tried again before another was ordered. */
  const orderAnother = async (): Promise<Digest> => {
    lastOrder = [...ordered, installed].find((digest) => digest !== now()?.manifestDigest && digest !== lastOrder)!
    await order(lastOrder)
    return lastOrder
  }
  const kills: Kill[] = []
  let [unrunnable, corrupt] = [0, 0]
  try {
    await waitFor('the broker', async () => link.isConnected() || undefined, { timeoutMs: PATIENCE_MS })
    await runsAgain('a running device', undefined)
    while (kills.length < options.kills) {
      await orderAnother()
      await delay(options.random() * UPDATE_MS)
      const boot = telemetry?.boot
      const phase = now()?.update?.state ?? 'idle'
      const pid = agent.pid()
      if (pid === undefined) continue
      reported = undefined
      process.kill(pid, 'SIGKILL')
      const killedMs = performance.now()
      corrupt += await countCorrupt(dataDir)
      const isRunning = (await runsAgain(`frames after kill ${kills.length + 1}`, boot)) !== undefined
      const seconds = (performance.now() - killedMs) / 1000
      const digest = now()?.manifestDigest
      if (!isRunning || digest === undefined || !known.has(digest)) unrunnable++
      kills.push({ phase, seconds })
      options.onKill({ phase, seconds })
    }
    const last = await orderAnother()
    const ended = await waitFor(
      'the end of the last update',
      async () => {
        const { update } = now() ?? {}
        const isOver = update?.manifestDigest === last && ['committed', 'rolled-back', 'safe'].includes(update.state)
        return isOver ? now() : undefined
      },
      { timeoutMs: PATIENCE_MS },
    ).catch(() => undefined)
    corrupt += await countCorrupt(dataDir)
    return { kills, unrunnable, corrupt, lastPhase: ended?.update?.state ?? 'none' }
  } finally {
    await agent.stop()
    await link.close()
    await broker.close()
    await controller.close()
    await rm(home, { recursive: true, force: true })
  }
}
