import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import sharp from 'sharp'
import type { LivePage, LiveScene, ShownPixels } from './browser/live-scene.ts'
import { atMost, type Findings } from './checks.ts'

/** The first is what a camera sends; WebGPU in software has time for the second alone. */
const SIZES = [
  { width: 512, height: 288, left: 0, top: 0, frames: 24 },
  { width: 64, height: 48, left: 100, top: 60, frames: 6 },
] as const
type Size = (typeof SIZES)[number]
/** The engine optimises what has run for a while. */
const WARM_UP_FRAMES = { wasm: 10, webgpu: 2 }

interface Sent {
  readonly stream: Uint8Array
  /** What it follows. */
  readonly reference: FrameReference | undefined
  readonly full: Picture
  readonly light: Picture
}

interface Timed {
  readonly backend: string
  readonly adapter: string | undefined
  readonly size: string
  readonly decoder: 'full' | 'light'
  readonly frames: number
  readonly decodeMs: Spread
  /** To the same decoder in this process, on WASM with one thread: frame by frame, one right after the other. */
  readonly ratioToNode: Spread
  /** What a frame waits and is drawn for, beside its decoding. */
  readonly besideDecodingMs: Spread
  readonly farthestLevels: number
}

interface Spread {
  readonly median: number
  readonly quartiles: readonly [number, number]
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number): number => Number(sorted[Math.floor((sorted.length - 1) * share)]!.toFixed(2))
  return { median: at(0.5), quartiles: [at(0.25), at(0.75)] }
}

async function encodeClip(codec: PictureCodec, clip: string, size: Size): Promise<Sent[]> {
  const names = (await readdir(clip)).filter((name) => name.endsWith('.webp')).sort()
  const sent: Sent[] = []
  let reference: FrameReference | undefined
  for (const name of names.slice(0, size.frames)) {
    const { width, height, left, top } = size
    const image = sharp(join(clip, name)).extract({ left, top, width, height })
    const picture = { width, height, rgb: new Uint8Array(await image.removeAlpha().raw().toBuffer()) }
    const made = await codec.encode(picture, { variant: 'full', alpha255: 64, reference })
    const full = await codec.decode(made.stream, { reference })
    const light = await codec.decode(made.stream, { reference, decoder: 'light' })
    sent.push({ stream: made.stream, reference, full, light })
    reference = made.reference
  }
  return sent
}

function farthestLevels({ rgba }: ShownPixels, { rgb }: Picture): number {
  let farthest = 0
  for (let from = 0, at = 0; from < rgb.length; from += 3, at += 4)
    for (let channel = 0; channel < 3; channel++)
      farthest = Math.max(farthest, Math.abs(rgba[at + channel]! - rgb[from + channel]!))
  return farthest
}

/** Undefined where the page has another backend than was asked for. */
async function timePage(
  scene: LiveScene,
  page: LivePage,
  codec: PictureCodec,
  wanted: 'wasm' | 'webgpu',
  size: Size,
  sent: readonly Sent[],
): Promise<Timed | undefined> {
  const decoder = wanted === 'webgpu' ? 'full' : 'light'
  await page.mount('cam0', wanted)
  const [decoding, beside, ratios]: [number[], number[], number[]] = [[], [], []]
  let farthest = 0
  for (const [i, each] of sent.entries()) {
    const number = scene.send(each.stream)
    const shown = await page.until(({ sequence }) => sequence === number)
    if (shown.backend !== wanted) return undefined
    const started = performance.now()
    await codec.decode(each.stream, { reference: each.reference, decoder })
    const nodeMs = performance.now() - started
    if (i < Math.min(WARM_UP_FRAMES[wanted], sent.length >> 1)) continue
    decoding.push(shown.decodeMs!)
    ratios.push(shown.decodeMs! / nodeMs)
    beside.push(shown.arrivalToPictureMs! - shown.decodeMs!)
    farthest = Math.max(farthest, farthestLevels(await page.pixels(), each[decoder]))
  }
  return {
    backend: wanted,
    adapter: (await page.status())?.backendReason,
    size: `${size.width} x ${size.height}`,
    decoder,
    frames: decoding.length,
    decodeMs: spreadOf(decoding),
    ratioToNode: spreadOf(ratios),
    besideDecodingMs: spreadOf(beside),
    farthestLevels: farthest,
  }
}

/**
 * What decoding in a page takes, on WASM and on WebGPU, against the same in this process; and how far its pixels are
 * from the reference decoder's. Undefined without a browser, after saying so.
 */
export async function benchBrowser(familyDir: string, clip: string): Promise<Findings | undefined> {
  // For whoever develops: the packages that drive a browser and build its page do not ship.
  const { findChromium } = await import('./browser/chromium.ts')
  const executable = findChromium()
  if (executable === undefined) {
    process.stderr.write('SKIPPED browser: no Chromium on the PATH; install the Debian package "chromium"\n')
    return undefined
  }
  const { openLiveScene } = await import('./browser/live-scene.ts')
  const codec = await openFamilyCodec(familyDir, { threads: 1 })
  const timed: Timed[] = []
  for (const size of SIZES) {
    const sent = await encodeClip(codec, clip, size)
    const scene = await openLiveScene(executable, familyDir)
    try {
      for (const backend of size === SIZES[0] ? (['wasm'] as const) : (['wasm', 'webgpu'] as const)) {
        const page = await scene.openPage()
        const found = await timePage(scene, page, codec, backend, size, sent)
        if (found === undefined) process.stderr.write(`SKIPPED ${backend}: this browser gives another\n`)
        else timed.push(found)
        await page.close()
      }
    } finally {
      await scene.close()
    }
  }
  await codec.close()
  return {
    checks: timed.map((each) =>
      atMost(`levels apart from the reference, ${each.backend}, ${each.size}`, each.farthestLevels, 1, ''),
    ),
    details: timed,
  }
}
