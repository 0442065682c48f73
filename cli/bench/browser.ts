import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, Picture } from '@espalier/shared/codec/picture-codec'
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
  readonly full: Picture
  readonly light: Picture
  /** Of the light decoder, in this process. */
  readonly nodeMs: number
}

interface Timed {
  readonly backend: string
  readonly adapter: string | undefined
  readonly size: string
  readonly decoder: 'full' | 'light'
  readonly frames: number
  readonly decodeMs: Spread
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

async function encodeClip(familyDir: string, clip: string, size: Size): Promise<Sent[]> {
  const codec = await openFamilyCodec(familyDir, { threads: 1 })
  const names = (await readdir(clip)).filter((name) => name.endsWith('.webp')).sort()
  const sent: Sent[] = []
  let reference: FrameReference | undefined
  for (const name of names.slice(0, size.frames)) {
    const { width, height, left, top } = size
    const image = sharp(join(clip, name)).extract({ left, top, width, height })
    const picture = { width, height, rgb: new Uint8Array(await image.removeAlpha().raw().toBuffer()) }
    const made = await codec.encode(picture, { variant: 'full', alpha255: 64, reference })
    const full = await codec.decode(made.stream, { reference })
    const started = performance.now()
    const light = await codec.decode(made.stream, { reference, decoder: 'light' })
    sent.push({ stream: made.stream, full, light, nodeMs: performance.now() - started })
    reference = made.reference
  }
  await codec.close()
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
  wanted: 'wasm' | 'webgpu',
  size: Size,
  sent: readonly Sent[],
): Promise<Timed | undefined> {
  const decoder = wanted === 'webgpu' ? 'full' : 'light'
  await page.mount('cam0', wanted)
  const [decoding, beside]: [number[], number[]] = [[], []]
  let farthest = 0
  for (const [i, each] of sent.entries()) {
    const number = scene.send(each.stream)
    const shown = await page.until(({ sequence }) => sequence === number)
    if (shown.backend !== wanted) return undefined
    if (i < Math.min(WARM_UP_FRAMES[wanted], sent.length >> 1)) continue
    decoding.push(shown.decodeMs!)
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
  const timed: Timed[] = []
  const nodeMs: Record<string, Spread> = {}
  for (const size of SIZES) {
    const sent = await encodeClip(familyDir, clip, size)
    nodeMs[`${size.width} x ${size.height}`] = spreadOf(sent.slice(sent.length >> 1).map((each) => each.nodeMs))
    const scene = await openLiveScene(executable, familyDir)
    try {
      for (const backend of size === SIZES[0] ? (['wasm'] as const) : (['wasm', 'webgpu'] as const)) {
        const page = await scene.openPage()
        const found = await timePage(scene, page, backend, size, sent)
        if (found === undefined) process.stderr.write(`SKIPPED ${backend}: this browser gives another\n`)
        else timed.push(found)
        await page.close()
      }
    } finally {
      await scene.close()
    }
  }
  const small = timed.filter(({ size }) => size !== timed[0]?.size)
  const [wasm, webgpu] = ['wasm', 'webgpu'].map((name) => small.find(({ backend }) => backend === name))
  const ratios = {
    'page to Node, WASM, light decoder, 512 x 288':
      timed[0] === undefined ? undefined : timed[0].decodeMs.median / nodeMs[timed[0].size]!.median,
    'WebGPU (full decoder) to WASM (light decoder), 64 x 48':
      wasm === undefined || webgpu === undefined ? undefined : webgpu.decodeMs.median / wasm.decodeMs.median,
  }
  return {
    checks: timed.map((each) =>
      atMost(`levels apart from the reference, ${each.backend}, ${each.size}`, each.farthestLevels, 1, ''),
    ),
    details: { ratios, timed, nodeMs },
  }
}
