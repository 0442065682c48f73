import { systemClock } from '@espalier/shared/clock'
import { ConfigError } from '@espalier/shared/errors'
import type { PowerModel } from '../meter/power-model.ts'
import type { SystemFiles } from '../sensors/system-files.ts'
import { discardSink } from '../sink/discard-sink.ts'
import { openEventsSink } from '../sink/events-sink.ts'
import type { AgentSurroundings } from '../surroundings.ts'
import { openCamera } from './camera.ts'
import { openClip } from './clip.ts'
import { PageRuntimes } from './page-runtimes.ts'
import type { PageSensors } from './page-sensors.ts'
import { openPageUplink, uplinkProtocols } from './uplink-sink.ts'
import { isAsleep } from './wakefulness.ts'

/** Of a machine whose browser does not tell: what a small phone has. */
const LEAST_GIBIBYTES = 2

/** What a page may know of its machine. */
interface Hints {
  readonly deviceMemory?: number
  readonly userAgentData?: {
    readonly platform: string
    readonly mobile: boolean
    readonly brands: { brand: string; version: string }[]
  }
}
const hints = navigator as Navigator & Hints

const isMobile = hints.userAgentData?.mobile ?? /Android|iPhone|iPad|Mobile/.test(navigator.userAgent)

/** @example 'Chromium 156' */
export function describeBrowser(): string {
  const known = hints.userAgentData?.brands.find(({ brand }) => !/not.?a.?brand/i.test(brand))
  const match = /(Firefox|Chrome|Version)\/(\d+)/.exec(navigator.userAgent)
  if (known !== undefined) return `${known.brand} ${known.version}`
  return match === null ? 'unknown browser' : `${match[1] === 'Version' ? 'Safari' : match[1]} ${match[2]}`
}

function platform(): string {
  const found = hints.userAgentData?.platform ?? /Android|iPhone|iPad|Windows|Mac|Linux/.exec(navigator.userAgent)?.[0]
  return (found || 'unknown').toLowerCase()
}

/**
 * Watts of a phone or tablet with its screen on, and of a laptop; of a page nothing else can be said. The interval is
 * wide for that.
 */
export const PAGE_POWER: PowerModel = isMobile
  ? { idleW: 1.2, fullW: 5, uncertainty: 1 }
  : { idleW: 8, fullW: 30, uncertainty: 1 }

export interface PageOptions {
  readonly device: string
  readonly password: string | undefined
  readonly sensors: PageSensors
}

/** As a system says of a file that is not there. */
const notFound = (path: string): Error =>
  Object.assign(new Error(`ENOENT: a page has no "${path}"`), { code: 'ENOENT' })

/** A page is shown no system files. */
const noFiles: SystemFiles = {
  list: (path) => {
    throw notFound(path)
  },
  read: (path) => {
    throw notFound(path)
  },
}

/** In place of `agent/this-machine.ts`. What the page was told by its user is added to it when the agent starts. */
export const thisMachine: Omit<AgentSurroundings, 'openSink'> & Pick<Partial<AgentSurroundings>, 'openSink'> = {
  clock: systemClock,
  random: Math.random,
  makeBootId: () =>
    Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join(''),
  files: noFiles,
  workerPath: '',
  makeRuntimeFinder: (options) => new PageRuntimes(options),
  readBoard: () => {
    const cores = navigator.hardwareConcurrency || 1
    return {
      model: `${describeBrowser()} on ${platform()}`.slice(0, 200),
      arch: 'browser',
      cores,
      memoryBytes: (hints.deviceMemory ?? LEAST_GIBIBYTES) * 2 ** 30,
      deviceClass: `browser-${platform()}-${isMobile ? 'mobile' : 'desktop'}-${cores}core`.slice(0, 80),
    }
  },
  // A page is told nothing of CPU time: what its workers measure of themselves is all there is.
  readOwnCpuSeconds: () => 0,
  readDeviceCpuSeconds: () => 0,
  readRssBytes: () => (performance as { memory?: { usedJSHeapSize: number } }).memory?.usedJSHeapSize ?? 0,
  runCommand: (program) => Promise.reject(notFound(program)),
  readUptimeMs: () => performance.now(),
  meterEveryMs: 1000,
  openSource: async ({ kind, path, loop }) => {
    if (kind === 'camera') return openCamera(path)
    if (kind === 'images') return openClip({ loop })
    throw new ConfigError(`Cannot open source: found "${kind}", expected "camera" or "images" in a browser`)
  },
  sleepReason: () => (isAsleep() ? 'the page is not visible: no frames are taken' : undefined),
}

/** What depends on who this device is. */
export function surroundingsOf({ device, password, sensors }: PageOptions): Partial<AgentSurroundings> {
  return {
    files: sensors.files(noFiles),
    amendMachine: (state) => sensors.amend(state),
    openSink: async ({ kind }, { controllerUrl, slot, random, clock, onEvent, onSent }) => {
      if (kind === 'discard') return discardSink
      if (kind === 'events') return openEventsSink(slot, clock, onEvent)
      if (kind === 'folder') throw new ConfigError('Cannot open sink: found "folder", expected "uplink" in a browser')
      const url = new URL(`/api/v1/uplink/${device}/${slot}`, controllerUrl)
      url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
      return openPageUplink(url.href, uplinkProtocols(device, password), random, onSent)
    },
  }
}
