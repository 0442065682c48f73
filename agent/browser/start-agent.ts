import { ConfigError, type StoreError } from '@espalier/shared/errors'
import { type BackendChoice, choosePageBackend, pageThreads } from '@espalier/shared/runtime/page-backend'
import { loadConfig } from '../config.ts'
import type { Log } from '../log.ts'
import { runAgent } from '../main.ts'
import type { AgentView } from '../surroundings.ts'
import type { AgentOffer } from './agent-offer.ts'
import { PageFiles, useFiles } from './page-files.ts'
import { PageSensors } from './page-sensors.ts'
import { describeBrowser, PAGE_POWER, surroundingsOf } from './this-page.ts'
import { keepAwake } from './wakefulness.ts'

/** What the user of the page chose. */
export interface PageSettings {
  readonly device: string
  readonly site: string
  /** Empty: none. */
  readonly password: string
  readonly source: 'camera-environment' | 'camera-user' | 'clip'
  readonly frameRate: number
  readonly backend: BackendChoice
  /** Digest of the version. */
  readonly manifestDigest: string
}

export interface AgentEars {
  readonly onView: (view: AgentView) => void
  readonly log: Log
  /** What was found out before anything ran. */
  readonly onSurroundings: (found: { backend: string; threads: number; battery: string; pressure: string }) => void
}

/** One agent for one name in one browser: two would take each other's place at the broker for ever. */
function withLock(device: string, run: () => Promise<void>): Promise<void> {
  // Absent where the page is not of a secure origin.
  const locks = navigator.locks as LockManager | undefined
  if (locks === undefined) return run()
  return locks.request(`espalier-agent-${device}`, { ifAvailable: true }, async (lock) => {
    if (lock === null) throw new ConfigError(`Cannot start "${device}": it runs in another tab of this browser`)
    await run()
  })
}

/**
 * Run the agent in this page until aborted: the same program as on a computer (agent/main.ts), on a page's files, workers and
 * sockets.
 *
 * @throws {ConfigError} If the settings cannot be used, or camera or family are not to be had.
 */
export async function startAgent(
  settings: PageSettings,
  offer: AgentOffer,
  ears: AgentEars,
  signal: AbortSignal,
): Promise<void> {
  const { device, site, manifestDigest, frameRate } = settings
  const password = settings.password === '' ? undefined : settings.password
  const { log } = ears
  if (!globalThis.isSecureContext)
    throw new ConfigError('Cannot start in this page: found an insecure origin, expected https or this machine itself')
  await withLock(device, async () => {
    const files = await PageFiles.open(`espalier-agent-${device}`, (error: StoreError) =>
      log.error({ reason: error.message }, 'state not kept'),
    )
    useFiles(files)
    // Or the browser may throw the state away when its disk fills up.
    void navigator.storage.persist()
    const sensors = new PageSensors()
    await sensors.open()
    const { backend, reason } = await choosePageBackend(settings.backend)
    const threads = backend === 'wasm' ? pageThreads() : 1
    const runsOn = backend === 'webgpu' ? `WebGPU, ${reason}` : `WASM: ${reason}`
    ears.onSurroundings({ backend: runsOn, threads, ...sensors.describe() })
    const task = offer.families.find((family) => family.manifestDigest === manifestDigest)?.task
    const source =
      settings.source === 'clip'
        ? { kind: 'images', path: 'clip', frameRate }
        : { kind: 'camera', path: settings.source.replace('camera-', ''), frameRate }
    const config = loadConfig({
      file: {
        name: 'this page',
        settings: {
          device,
          site,
          labels: {
            browser: describeBrowser(),
            threads: globalThis.crossOriginIsolated ? 'isolated' : 'not isolated: one thread',
            backend: runsOn.slice(0, 255),
          },
          dataDir: `state/${device}`,
          mqttUrl: offer.mqttUrl ?? new URL('/mqtt', location.href.replace(/^http/, 'ws')).href,
          ...(password === undefined ? {} : { mqttPassword: password }),
          controllerUrl: location.origin,
          familyDir: `/api/v1/families/${manifestDigest}`,
          power: PAGE_POWER,
          threads,
          backends: [backend],
          // A page plays few frames a second: every five seconds at two.
          qualityEveryFrames: 10,
          spoolMaxBytes: 1024 * 1024,
          slots: [{ slot: 'cam0', source, sink: { kind: task === 'classification' ? 'events' : 'uplink' } }],
        },
      },
    })
    const letSleep = keepAwake()
    try {
      await runAgent(config, signal, log, {
        ...surroundingsOf({ device, password, sensors }),
        onView: ears.onView,
      })
    } finally {
      letSleep()
      sensors.close()
      await files.close()
    }
  })
}
