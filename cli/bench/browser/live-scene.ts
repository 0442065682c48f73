import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { loadConfig } from '@espalier/controller/config'
import { startController } from '@espalier/controller/main'
import type { LiveStatus } from '@espalier/controller/web/live/status'
import { TransportError } from '@espalier/shared/errors'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { type Birth, birthSchema } from '@espalier/shared/messages/device'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import type { BackendChoice } from '@espalier/shared/runtime/page-backend'
import { connectAsync } from 'mqtt'
import { pino } from 'pino'
import type { Page } from 'playwright-core'
import { build } from 'vite'
import { WebSocket } from 'ws'
import { launchChromium } from './chromium.ts'
import { serveBeside } from './serve-beside.ts'

// Vite reads sources: from `dist/` they are a folder further away.
const LIVE_PAGE = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? './live-page' : '../../../bench/browser/live-page', import.meta.url),
)
const DEVICE = 'camera-1'
const SLOT = 'cam0'
export const LIVE_KEY = `${DEVICE}/${SLOT}`
/** WebGPU in software takes seconds for its first frame. */
const LONGEST_WAIT_MS = 60_000

export interface ShownPixels {
  readonly width: number
  readonly height: number
  readonly rgba: readonly number[]
}

/** A page with live pictures; calls go to the functions of live-page/page.ts. */
export interface LivePage {
  readonly page: Page
  mount(slot: string, backend: BackendChoice): Promise<void>
  status(slot?: string): Promise<LiveStatus | undefined>
  pixels(slot?: string): Promise<ShownPixels>
  setHidden(isHidden: boolean): Promise<void>
  /** Wait until a status is as wanted. @throws {TransportError} If it never is. */
  until(isIt: (status: LiveStatus) => boolean, slot?: string): Promise<LiveStatus>
  close(): Promise<void>
}

export interface LiveScene {
  /** Send a stream up as the device would. @returns Its sequence number. */
  send(stream: Uint8Array): number
  openPage(): Promise<LivePage>
  close(): Promise<void>
}

function makeBirth(manifestDigest: string): Birth {
  return birthSchema.parse({
    device: DEVICE,
    site: 'local',
    deviceClass: 'none',
    labels: {},
    software: 'none',
    board: { model: 'none', arch: 'none', cores: 1, memoryBytes: 0 },
    energy: [],
    slots: [
      {
        slot: SLOT,
        family: 'kodo',
        manifestDigest,
        source: { kind: 'images', width: 512, height: 288, frameRate: 5 },
        backends: [{ backend: 'wasm', threads: 1 }],
        macsPerSecond: 1e10,
        weight: 1,
      },
    ],
  })
}

async function openLivePage(page: Page, origin: string): Promise<LivePage> {
  page.on('pageerror', (error) => process.stderr.write(`Chromium: ${error.message}\n`))
  page.on('console', (message) => {
    if (message.type() === 'error') process.stderr.write(`Chromium: ${message.text()}\n`)
  })
  await page.goto(origin)
  await page.waitForFunction('globalThis.espalierLive !== undefined')
  const call = <Answer>(name: string, ...given: unknown[]): Promise<Answer> =>
    page.evaluate(
      ([called, all]) =>
        (globalThis as unknown as { espalierLive: Record<string, (...args: unknown[]) => unknown> }).espalierLive[
          called
        ]!(...all),
      [name, given] as [string, unknown[]],
    ) as Promise<Answer>
  const keyOf = (slot = SLOT): string => `${DEVICE}/${slot}`
  const status = (slot?: string): Promise<LiveStatus | undefined> => call('status', keyOf(slot))
  return {
    page,
    mount: (slot, backend) => call('mount', DEVICE, slot, backend),
    status,
    pixels: (slot) => call('pixels', keyOf(slot)),
    setHidden: (isHidden) => call('setHidden', keyOf(), isHidden),
    async until(isIt, slot) {
      const deadline = performance.now() + LONGEST_WAIT_MS
      let last: LiveStatus | undefined
      while (performance.now() < deadline && last?.state !== 'failed') {
        last = await status(slot)
        if (last !== undefined && isIt(last)) return last
        await delay(20)
      }
      throw new TransportError(`Waited in vain for a picture of "${keyOf(slot)}": found ${JSON.stringify(last)}`, {
        retryable: true,
      })
    },
    close: () => page.close(),
  }
}

/** A controller, a device that sends what it is given, and a browser that can watch it. */
export async function openLiveScene(chromium: string, familyDir: string): Promise<LiveScene> {
  const closers: (() => unknown)[] = []
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer()
  }
  try {
    const folder = await mkdtemp(join(tmpdir(), 'espalier-live-'))
    closers.push(() => rm(folder, { recursive: true, force: true }))
    const pageDir = join(folder, 'page')
    await build({ configFile: join(LIVE_PAGE, 'vite.config.ts'), logLevel: 'error', build: { outDir: pageDir } })
    const settings = { port: 0, mqttPort: 0, dataDir: join(folder, 'data'), familiesDir: join(familyDir, '..') }
    const controller = await startController(loadConfig({ flags: settings }), pino({ level: 'silent' }))
    closers.push(() => controller.close())

    const device = await connectAsync(`mqtt://127.0.0.1:${controller.mqttPort}`, { username: DEVICE })
    const { manifestDigest } = await openFamily(familyDir)
    const birth = { v: 1, bd: 1, boot: 'scene', seq: 0, mono: 0, wall: Date.now(), clk: 'none' } as const
    const message = formatMessage({ ...birth, body: makeBirth(manifestDigest) })
    await device.publishAsync(`espalier/v1/${DEVICE}/up/birth`, Buffer.from(message), { qos: 1 })
    await device.endAsync()
    const uplink = new WebSocket(`${controller.url.replace('http', 'ws')}/api/v1/uplink/${LIVE_KEY}`)
    await new Promise((open, failed) => uplink.once('open', open).once('error', failed))
    closers.push(() => uplink.terminate())

    const served = await serveBeside(controller.url, pageDir)
    closers.push(() => served.close())
    const browser = await launchChromium(chromium)
    closers.push(() => browser.close())
    let sequence = 0
    return {
      send(stream) {
        uplink.send(encodeUplinkFrame({ sequence, capturedWallMs: Date.now(), stream }))
        return sequence++
      },
      openPage: async () => openLivePage(await browser.context.newPage(), served.origin),
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
