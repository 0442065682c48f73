import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { readStream, writeStream } from '@espalier/shared/codec/container'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, Picture } from '@espalier/shared/codec/picture-codec'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { findChromium } from '../../cli/bench/browser/chromium.ts'
import { type LivePage, type LiveScene, openLiveScene, type ShownPixels } from '../../cli/bench/browser/live-scene.ts'

const ROOT = join(import.meta.dirname, '../..')
const FAMILY = join(ROOT, 'models/kodo')
const CLIP = join(ROOT, 'models/clip')
const SLOT = 'cam0'
/** No multiple of the decoder's block of 16, so that what a page crops is seen; small, for WebGPU is software here. */
const SIZE = { width: 56, height: 40 }
/** Backends round differently; a pixel may fall on the other side. */
const MAX_LEVELS_APART = 1

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
    const image = sharp(join(CLIP, name)).extract({ left: 100, top: 60, ...SIZE })
    const picture = { ...SIZE, rgb: new Uint8Array(await image.removeAlpha().raw().toBuffer()) }
    const made = await codec.encode(picture, { variant: 'small', alpha255: i * 20, reference })
    const full = await codec.decode(made.stream, { reference })
    const light = await codec.decode(made.stream, { reference, decoder: 'light' })
    encoded.push({ stream: made.stream, frameKind: made.frameKind, decoded: { full, light } })
    reference = made.reference
  }
  await codec.close()
  return encoded
}

function farthestLevels(shown: ShownPixels, expected: Picture): number {
  expect({ width: shown.width, height: shown.height }).toEqual({ width: expected.width, height: expected.height })
  let farthest = 0
  for (let pixel = 0; pixel < expected.width * expected.height; pixel++)
    for (let channel = 0; channel < 3; channel++)
      farthest = Math.max(farthest, Math.abs(shown.rgba[pixel * 4 + channel]! - expected.rgb[pixel * 3 + channel]!))
  return farthest
}

describe.skipIf(chromium === undefined)('a live picture', { timeout: 180_000 }, () => {
  let frames: Encoded[]
  let scene: LiveScene

  beforeAll(async () => {
    frames = await encodeClip(6)
    scene = await openLiveScene(chromium!, FAMILY)
  })
  afterAll(() => scene?.close())

  async function openPage(): Promise<LivePage> {
    const page = await scene.openPage()
    onTestFinished(() => page.close())
    return page
  }

  test.for(['wasm', 'webgpu'] as const)(
    'on %s is the reference decoder’s, key frame and all that follow',
    async (backend) => {
      const page = await openPage()
      // The newest chain is there before anybody watches.
      const [, , newest] = frames.slice(0, 3).map(({ stream }) => scene.send(stream))
      await page.mount(SLOT, backend)
      const first = await page.until(({ sequence }) => sequence === newest)
      if (first.backend !== backend) {
        console.warn(`SKIPPED ${backend}: the page decodes on ${first.backend} (${first.backendReason})`)
        return
      }
      const decoder = backend === 'webgpu' ? 'full' : 'light'
      const apart = [farthestLevels(await page.pixels(), frames[2]!.decoded[decoder])]
      // In software a frame takes seconds.
      for (const { stream, decoded } of frames.slice(3, backend === 'webgpu' ? 4 : undefined)) {
        const sent = scene.send(stream)
        await page.until(({ sequence }) => sequence === sent)
        apart.push(farthestLevels(await page.pixels(), decoded[decoder]))
      }
      const last = (await page.status())!
      console.info(
        `Chromium on ${backend} (${last.backendReason}): at most ${Math.max(...apart)} levels apart; newest: ${last.decodeMs?.toFixed(0)} ms decoding, ${last.arrivalToPictureMs?.toFixed(0)} ms from arrival to picture`,
      )
      expect(frames.map(({ frameKind }) => frameKind)).toEqual(['key', ...Array(5).fill('inter')])
      expect(Math.max(...apart)).toBeLessThanOrEqual(MAX_LEVELS_APART)
      expect(last).toMatchObject({ state: 'live', ...SIZE, frameKind: 'inter' })
      expect(last.arrivalToPictureMs).toBeGreaterThanOrEqual(last.decodeMs!)
      // By two clocks of this machine, one of which counts whole milliseconds.
      expect(last.captureToPictureMs).toBeGreaterThanOrEqual(last.decodeMs! - 2)
    },
  )

  test('shares one worker with the others of its page, and is not decoded while nobody can see it', async () => {
    const page = await openPage()
    const newest = frames.slice(0, 2).map(({ stream }) => scene.send(stream))[1]
    await page.mount(SLOT, 'wasm')
    await page.until(({ sequence }) => sequence === newest)
    await page.mount('cam1', 'wasm')
    const unknown = await page.until(({ state }) => state === 'waiting', 'cam1')
    expect(unknown.shown).toBe(0)
    expect(page.page.workers().length).toBe(1)

    await page.setHidden(true)
    await delay(300)
    const { shown } = (await page.status())!
    const sent = scene.send(frames[2]!.stream)
    await delay(700)
    expect((await page.status())!.shown).toBe(shown)
    await page.setHidden(false)
    await page.until(({ sequence }) => sequence === sent)
    expect(farthestLevels(await page.pixels(), frames[2]!.decoded.light)).toBeLessThanOrEqual(MAX_LEVELS_APART)
  })

  test('says why it waits when a stream is of another codec, and goes on with the next key frame', async () => {
    const page = await openPage()
    const [{ stream }] = frames as [Encoded]
    const first = scene.send(stream)
    await page.mount(SLOT, 'wasm')
    await page.until(({ sequence }) => sequence === first)
    const { header, payload } = readStream(stream)
    scene.send(writeStream({ ...header, codecDigest: 'f'.repeat(16) }, payload))
    const lost = await page.until(({ state }) => state === 'waiting')
    expect(lost.reason).toContain('it is of codec ffffffffffffffff')
    const sent = scene.send(stream)
    await page.until(({ state, sequence }) => state === 'live' && sequence === sent)
  })
})
