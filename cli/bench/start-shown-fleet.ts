import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getDevices } from '../fleet-api.ts'
import { freePort } from '../free-port.ts'
import { startLocalFleet, waitFor } from '../local-fleet.ts'
import { CLIP_DIR, DEFAULT_FAMILY_DIR } from '../models.ts'
import { agentProgram } from '../node-programs.ts'
import { supervise } from '../supervise.ts'
import { makeSecondVersion } from './second-version.ts'

/** Two agents on one machine: each plays slowly enough that both are in time. */
const FRAME_RATE = 3
/** Of the second slot: it is there to be seen beside the first. */
const SECOND_FRAME_RATE = 1

export const NEXT_VERSION = '2.0.0'

/**
 * A controller and two agents as processes of this machine, at two sites, on the bundled clip. The controller has another
 * version of the family too, as good as the one that runs, for a rollout.
 */
export async function startShownFleet(): Promise<{ url: string; devices: readonly string[]; stop(): Promise<void> }> {
  const dataDir = await mkdtemp(join(tmpdir(), 'espalier-shown-'))
  const familiesDir = join(dataDir, 'families')
  await cp(DEFAULT_FAMILY_DIR, join(familiesDir, 'kodo'), { recursive: true })
  await makeSecondVersion(join(familiesDir, 'kodo-next'), 'as good', NEXT_VERSION)
  const [port, mqttPort] = [await freePort(), await freePort()]
  const fleet = await startLocalFleet({
    dataDir,
    familiesDir,
    clipDir: CLIP_DIR,
    frameRate: FRAME_RATE,
    port,
    mqttPort,
    onLine: () => undefined,
  })
  const config = join(dataDir, 'gate.json')
  const settings = {
    device: 'gate-1',
    site: 'gate',
    dataDir: join(dataDir, 'gate'),
    mqttUrl: `mqtt://127.0.0.1:${mqttPort}`,
    controllerUrl: fleet.url,
    familyDir: DEFAULT_FAMILY_DIR,
    qualityEveryFrames: 9,
    slots: [
      {
        slot: 'cam0',
        source: { kind: 'images', path: CLIP_DIR, frameRate: FRAME_RATE, loop: true },
        sink: { kind: 'uplink' },
      },
      {
        slot: 'cam1',
        source: { kind: 'images', path: CLIP_DIR, frameRate: SECOND_FRAME_RATE, loop: true },
        sink: { kind: 'uplink' },
      },
    ],
  }
  await writeFile(config, JSON.stringify(settings))
  const second = supervise({ name: 'gate', ...agentProgram(), args: ['--config', config] }, () => undefined)
  const stop = async (): Promise<void> => {
    await second.stop()
    await fleet.stop()
    await rm(dataDir, { recursive: true, force: true, maxRetries: 3 })
  }
  try {
    const isMeasured = async () => {
      const devices = await getDevices(fleet.url)
      const sending = devices.filter(({ frames, psnrDb }) => frames > 10 && psnrDb !== undefined)
      return sending.length === 2 ? true : undefined
    }
    await waitFor('two agents that send', isMeasured, { timeoutMs: 120_000 })
    return { url: fleet.url, devices: [fleet.device, 'gate-1'], stop }
  } catch (error) {
    await stop()
    throw error
  }
}
