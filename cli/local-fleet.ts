import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TransportError } from '@espalier/shared/errors'
import { agentProgram, controllerProgram, type NodeProgram } from './node-programs.ts'
import { type SupervisedProgram, supervise } from './supervise.ts'

export interface LocalFleetOptions {
  /** Keeps everything that outlives the processes. */
  readonly dataDir: string
  readonly familiesDir: string
  /** Folder of image files: what the agent sees. */
  readonly clipDir: string
  readonly frameRate: number
  readonly port: number
  readonly mqttPort: number
  readonly onLine: (program: string, line: string) => void
}

/** A controller and one agent as processes of this machine, each started again whenever it dies. */
export interface LocalFleet {
  /** e.g. `http://127.0.0.1:8080` */
  readonly url: string
  readonly device: string
  readonly controller: SupervisedProgram
  readonly agent: SupervisedProgram
  stop(): Promise<void>
}

export const LOCAL_DEVICE = 'local-1'
export const LOCAL_SLOT = 'cam0'

async function writeConfig(dataDir: string, name: string, config: unknown): Promise<string> {
  const path = join(dataDir, `${name}.json`)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, JSON.stringify(config, undefined, 2))
  return path
}

export async function startLocalFleet(options: LocalFleetOptions): Promise<LocalFleet> {
  const url = `http://127.0.0.1:${options.port}`
  const controllerConfig = await writeConfig(options.dataDir, 'controller', {
    port: options.port,
    mqttPort: options.mqttPort,
    dataDir: join(options.dataDir, 'controller'),
    familiesDir: options.familiesDir,
  })
  const agentConfig = await writeConfig(options.dataDir, 'agent', {
    device: LOCAL_DEVICE,
    site: 'local',
    dataDir: join(options.dataDir, 'agent'),
    mqttUrl: `mqtt://127.0.0.1:${options.mqttPort}`,
    controllerUrl: url,
    familyDir: join(options.familiesDir, 'kodo'),
    // Every three seconds: people watch this one.
    qualityEveryFrames: 15,
    // Two threads nearly halve a frame's time, and the controller leaves most of a second core idle.
    threads: Math.min(2, availableParallelism()),
    slots: [
      {
        slot: LOCAL_SLOT,
        source: { kind: 'images', path: options.clipDir, frameRate: options.frameRate, loop: true },
        sink: { kind: 'uplink' },
      },
    ],
  })
  const start = (name: string, program: NodeProgram, config: string): SupervisedProgram =>
    supervise({ name, ...program, args: ['--config', config] }, (line) => options.onLine(name, line))
  const controller = start('controller', controllerProgram(), controllerConfig)
  const agent = start('agent', agentProgram(), agentConfig)
  return {
    url,
    device: LOCAL_DEVICE,
    controller,
    agent,
    async stop() {
      await agent.stop()
      await controller.stop()
    },
  }
}

/**
 * Ask until the answer is there.
 *
 * @param read Gives undefined (or throws) while there is none.
 * @throws {TransportError} After `timeoutMs`, with the last failure as its cause.
 */
export async function waitFor<T>(
  what: string,
  read: () => Promise<T | undefined>,
  { timeoutMs, signal }: { timeoutMs: number; signal?: AbortSignal },
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  let cause: unknown
  while (performance.now() < deadline) {
    signal?.throwIfAborted()
    try {
      const found = await read()
      if (found !== undefined) return found
    } catch (error) {
      cause = error
    }
    await delay(200, undefined, { ...(signal ? { signal } : {}) })
  }
  throw new TransportError(`Cannot find ${what}: nothing after ${Math.round(timeoutMs / 1000)} s`, {
    cause,
    retryable: true,
  })
}
