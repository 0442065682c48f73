import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '@espalier/controller/config'
import { type RunningController, startController } from '@espalier/controller/main'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, Picture } from '@espalier/shared/codec/picture-codec'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { connectAsync } from 'mqtt'
import { pino } from 'pino'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import type { LiveStatus } from '../../controller/web/live/status.ts'
import { liveViteSettings } from '../../controller/web/live/vite-settings.ts'
import { DEVICE, envelope, makeBirth, SLOT } from '../unit/controller/controller-fixtures.ts'
import { type Chromium, findChromium, launchChromium } from './chromium.ts'
import type { LivePageCalls } from './live-page/page.ts'
import { type Served, serveBeside } from './serve-beside.ts'

const ROOT = join(import.meta.dirname, '../..')
const FAMILY = join(ROOT, 'models/kodo')
const CLIP = join(ROOT, 'models/clip')
/** No multiple of the decoder's block of 16, so that what a page crops is seen; small, for WebGPU is software here. */
const SIZE = { width: 56, height: 40 }
/** Backends round differently; a pixel may fall on the other side. */
const MAX_LEVELS_APART = 1
const KEY = `${DEVICE}/${SLOT}`

const chromium = findChromium()
if (chromium === undefined)
  console.warn('SKIPPED live pictures: no Chromium on the PATH; install the Debian package "chromium"')

interface Encoded {
  readonly stream: Uint8Array
  readonly frameKind: 'key' | 'inter'
  /** As the reference decoders have it. */
  readonly decoded: { readonly full: Picture; readonly light: Picture }
}

/** Consecutive frames of the clip: a key frame, and what follows it at falling quality. */
async function encodeClip(count: number): Promise<Encoded[]> {
  const codec = await openFamilyCodec(FAMILY, { threads: 1 })
  const names = (await readdir(CLIP)).filter((name) => name.endsWith('.webp')).sort()
  const encoded: Encoded[] = []
  let reference: FrameReference | undefined
  for (const [i, name] of names.slice(0, count).entries()) {
    const { data } = await sharp(join(CLIP, name))
      .extract({ left: 100, top: 60, ...SIZE })
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true })
    const picture = { ...SIZE, rgb: new Uint8Array(data) }
    const made = await codec.encode(picture, { variant: 'small', alpha255: i * 20, reference })
    const full = await codec.decode(made.stream, { reference })
    const light = await codec.decode(made.stream, { reference, decoder: 'light' })
    encoded.push({ stream: made.stream, frameKind: made.frameKind, decoded: { full, light } })
    reference = made.reference
  }
  await codec.close()
  return encoded
}

function farthestLevels(shown: { width: number; height: number; rgba: number[] }, expected: Picture): number {
  expect({ width: shown.width, height: shown.height }).toEqual({ width: expected.width, height: expected.height })
  let farthest = 0
  for (let pixel = 0; pixel < expected.width * expected.height; pixel++)
    for (let channel = 0; channel < 3; channel++)
      farthest = Math.max(farthest, Math.abs(shown.rgba[pixel * 4 + channel]! - expected.rgb[pixel * 3 + channel]!))
  return farthest
}

describe.skipIf(chromium === undefined)('a live picture', () => {
  let frames: Encoded[]
  let folder: string
  let controller: RunningController
  let served: Served
  let browser: Chromium
  let page: Page
  let uplink: WebSocket
  let sequence = 0

  const call = <Name extends keyof LivePageCalls>(name: Name, ...args: Parameters<LivePageCalls[Name]>) =>
    page.evaluate(
      ([called, given]) =>
        (
          (globalThis as unknown as { espalierLive: Record<string, (...all: unknown[]) => unknown> }).espalierLive[
            called
          ] as (...all: unknown[]) => unknown
        )(...given),
      [name, args] as [string, unknown[]],
    ) as Promise<Awaited<ReturnType<LivePageCalls[Name]>>>

  const send = (stream: Uint8Array): void =>
    uplink.send(encodeUplinkFrame({ sequence: sequence++, capturedWallMs: Date.now(), stream }))

  /** @param isIt Whether the wanted frame is shown. */
  async function untilShown(key: string, isIt: (status: LiveStatus) => boolean): Promise<LiveStatus> {
    const deadline = performance.now() + 40_000
    let status: LiveStatus | undefined
    while (performance.now() < deadline) {
      status = await call('status', key)
      if (status?.state === 'failed') break
      if (status !== undefined && isIt(status)) return status
      await delay(50)
    }
    throw new Error(`Waited in vain for a picture of "${key}": ${JSON.stringify(status)}`)
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'espalier-live-'))
    frames = await encodeClip(6)
    const pageDir = join(folder, 'page')
    await build({
      ...liveViteSettings,
      root: join(import.meta.dirname, 'live-page'),
      configFile: false,
      logLevel: 'error',
      build: { outDir: pageDir, target: 'es2022' },
    })
    const settings = { port: 0, mqttPort: 0, dataDir: join(folder, 'data'), familiesDir: join(ROOT, 'models') }
    controller = await startController(loadConfig({ flags: settings }), pino({ level: 'silent' }))
    const device = await connectAsync(`mqtt://127.0.0.1:${controller.mqttPort}`, { username: DEVICE })
    const { manifestDigest } = await openFamily(FAMILY)
    const birth = envelope(makeBirth(DEVICE, { family: 'kodo', manifestDigest }), { seq: 0 })
    await device.publishAsync(`espalier/v1/${DEVICE}/up/birth`, Buffer.from(formatMessage(birth)), { qos: 1 })
    await device.endAsync()
    uplink = new WebSocket(`${controller.url.replace('http', 'ws')}/api/v1/uplink/${KEY}`)
    await new Promise((open) => uplink.once('open', open))
    served = await serveBeside(controller.url, pageDir)
    browser = await launchChromium(chromium!)
  })
  afterAll(async () => {
    await browser?.close()
    await served?.close()
    uplink?.terminate()
    await controller?.close()
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })

  async function openPage(): Promise<void> {
    page = await browser.context.newPage()
    page.on('pageerror', (error) => console.warn(`Chromium: ${error.message}`))
    page.on('console', (message) => {
      if (message.type() === 'error') console.warn(`Chromium: ${message.text()}`)
    })
    await page.goto(served.origin)
    await page.waitForFunction('globalThis.espalierLive !== undefined')
  }

  test.for(['wasm', 'webgpu'] as const)(
    'on %s is the reference decoder’s, key frame and all that follow',
    async (backend) => {
      await openPage()
      // The newest chain is there before anybody watches.
      for (const { stream } of frames.slice(0, 3)) send(stream)
      await call('mount', DEVICE, SLOT, backend)
      const first = await untilShown(KEY, ({ sequence: shown }) => shown === sequence - 1)
      if (first.backend !== backend) {
        console.warn(`SKIPPED ${backend}: the page decodes on ${first.backend} (${first.backendReason})`)
        return
      }
      const decoder = backend === 'webgpu' ? 'full' : 'light'
      const apart = [farthestLevels(await call('pixels', KEY), frames[2]!.decoded[decoder])]
      // In software a frame takes seconds.
      for (const { stream, decoded } of frames.slice(3, backend === 'webgpu' ? 4 : undefined)) {
        send(stream)
        await untilShown(KEY, ({ sequence: shown }) => shown === sequence - 1)
        apart.push(farthestLevels(await call('pixels', KEY), decoded[decoder]))
      }
      const last = (await call('status', KEY))!
      console.info(
        `Chromium on ${backend} (${last.backendReason}): at most ${Math.max(...apart)} levels apart; newest: ${last.decodeMs?.toFixed(0)} ms decoding, ${last.arrivalToPictureMs?.toFixed(0)} ms from arrival to picture`,
      )
      expect(frames.filter(({ frameKind }) => frameKind === 'inter').length).toBeGreaterThanOrEqual(3)
      expect(Math.max(...apart)).toBeLessThanOrEqual(MAX_LEVELS_APART)
      expect(last).toMatchObject({ state: 'live', ...SIZE, frameKind: 'inter' })
      expect(last.arrivalToPictureMs).toBeGreaterThanOrEqual(last.decodeMs!)
      expect(last.captureToPictureMs).toBeGreaterThanOrEqual(last.decodeMs!)
      await page.close()
    },
  )
})
