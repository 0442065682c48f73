import { setTimeout as delay } from 'node:timers/promises'
import { formatPower, formatRate } from '@espalier/shared/units'
import type { Command } from 'commander'
import { InvalidArgumentError } from 'commander'
import { type DeviceSummary, getDevices } from '../fleet-api.ts'
import { type LocalFleet, startLocalFleet, waitFor } from '../local-fleet.ts'
import { CLIP_DIR, MODELS_DIR } from '../models.ts'

function parsePort(text: string): number {
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65535)
    throw new InvalidArgumentError('A port is a whole number from 0 to 65535.')
  return port
}

/** One line for people: what the device runs and what it costs. */
export function describeDevice(device: DeviceSummary): string {
  const energy = device.joulesPerFrame
  return [
    device.id.padEnd(10),
    device.state.padEnd(8),
    `${device.frames} frames`,
    formatRate(device.bitsPerSecond ?? 0),
    `p95 ${device.latencyMs?.p95?.toFixed(0) ?? '-'} ms`,
    energy === undefined ? '- J/frame' : `${energy.value.toFixed(2)} J/frame (${energy.source})`,
    formatPower(device.powerW ?? 0),
    `${device.psnrDb?.toFixed(1) ?? '-'} dB`,
    device.configurationId ?? 'starting',
  ].join('  ')
}

async function showLines(fleet: LocalFleet, signal: AbortSignal): Promise<void> {
  const isTerminal = process.stderr.isTTY
  let shown = 0
  while (!signal.aborted) {
    const devices = await getDevices(fleet.url).catch(() => [])
    if (isTerminal && shown > 0) process.stderr.write(`\x1b[${shown}A`)
    for (const device of devices) process.stderr.write(`${isTerminal ? '\x1b[2K' : ''}${describeDevice(device)}\n`)
    shown = devices.length
    await delay(isTerminal ? 1000 : 10_000, undefined, { signal }).catch(() => undefined)
  }
}

async function up(options: { port: number; mqttPort: number; data: string; frameRate: string }): Promise<void> {
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort())
  const fleet = await startLocalFleet({
    dataDir: options.data,
    familiesDir: MODELS_DIR,
    clipDir: CLIP_DIR,
    frameRate: Number(options.frameRate),
    port: options.port,
    mqttPort: options.mqttPort,
    onLine: (program, line) => {
      // Programs log as JSON; at rest only what needs attention is for people.
      if (!/"level":(10|20|30)\b/.test(line) && !line.startsWith('{"ready"'))
        process.stderr.write(`${program}: ${line}\n`)
    },
  })
  try {
    await waitFor('the controller', () => getDevices(fleet.url), { timeoutMs: 30_000, signal: stopping.signal })
    process.stderr.write(`\n  Espalier is up: ${fleet.url}   (API: ${fleet.url}/api/docs; end with Ctrl-C)\n\n`)
    await showLines(fleet, stopping.signal)
  } catch (error) {
    if (!stopping.signal.aborted) throw error
  } finally {
    process.stderr.write('Stopping ...\n')
    await fleet.stop()
  }
}

export function registerUpCommand(program: Command): void {
  program
    .command('up')
    .description('a controller and one local agent on the bundled clip, with a page to watch them')
    .option('--port <port>', 'port of the page and the API', parsePort, 8080)
    .option('--mqtt-port <port>', 'port of the embedded broker', parsePort, 1883)
    .option('--data <folder>', 'keeps budgets, plans and the agent state', '.espalier')
    .option('--frame-rate <hz>', 'frames a second that the clip plays at', '5')
    .action(up)
}
