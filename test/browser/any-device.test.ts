import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findChromium } from '../../cli/bench/browser/chromium.ts'
import { bundleForBrowser, bundleForNode } from './bundle.ts'
import { type ChromiumDevice, openChromiumDevice } from './chromium-device.ts'
import type { Device } from './device.ts'
import { type ForkedDevice, forkDevice } from './fork-device.ts'

const ROOT = join(import.meta.dirname, '../..')
const FAMILY = join(ROOT, 'models/kodo')
const KODAK = join(process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data'), 'kodak')
const CLIP = join(ROOT, 'models/clip')
interface Size {
  readonly width: number
  readonly height: number
}
/** Decoding a whole picture takes seconds: that is done once for each variant, and of the others it is the middle. */
const IN_PROCESSES = { first: 'whole', others: { width: 384, height: 256 } } as const
/** A page computes in software here. */
const IN_A_PAGE = { first: { width: 128, height: 96 }, others: { width: 64, height: 64 } } as const
/** Backends round differently; a pixel may fall on the other side. */
const MAX_LEVELS_APART = 1

async function findPictures(): Promise<string[]> {
  const hasKodak = existsSync(KODAK)
  if (!hasKodak) console.warn(`SKIPPED Kodak: "${KODAK}" is absent; frames of the clip take its place`)
  const folder = hasKodak ? KODAK : CLIP
  const names = (await readdir(folder)).filter((name) => /\.(png|webp)$/.test(name)).sort()
  return names.filter((_, i) => hasKodak || i % 20 === 0).map((name) => join(folder, name))
}

/** @param size Of the middle that is taken. */
async function readPicture(path: string, size: Size | 'whole'): Promise<Picture> {
  const image = sharp(path).removeAlpha()
  const whole = await image.metadata()
  if (size !== 'whole')
    image.extract({ left: (whole.width - size.width) >> 1, top: (whole.height - size.height) >> 1, ...size })
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true })
  return { width: info.width, height: info.height, rgb: new Uint8Array(data) }
}

interface Agreement {
  /** Symbols that two encoders rounded differently, of how many. */
  differingSymbols: number
  symbols: number
  farthestLevels: number
  differingLevels: number
  levels: number
}

/** A matcher would take seconds for so many numbers. */
const isSame = <Numbers extends Int16Array | Uint8Array>(a: Numbers, b: Numbers): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i])

/** Each device encodes; every device must find that stream's symbols, and nearly the same pixels. */
async function compareDevices(
  devices: ReadonlyMap<string, Device>,
  pictures: readonly Picture[],
  how: (index: number) => { variant: string; alpha255: number },
): Promise<Agreement> {
  const total: Agreement = { differingSymbols: 0, symbols: 0, farthestLevels: 0, differingLevels: 0, levels: 0 }
  for (const [index, picture] of pictures.entries()) {
    const encoded = await Promise.all([...devices.values()].map((device) => device.encode(picture, how(index))))
    const [first, ...others] = encoded
    for (const { symbols } of others) {
      total.differingSymbols += symbols.filter((symbol, i) => symbol !== first!.symbols[i]).length
      total.symbols += symbols.length
    }
    const decode = async ([name, device]: [string, Device]): Promise<Uint8Array> => {
      // To decode is to read the symbols first: only of streams that are not the first's they must be asked for.
      const decoded = await device.decode(first!.stream)
      expect(isSame(decoded.symbols, first!.symbols), `symbols of picture ${index} on ${name}`).toBe(true)
      for (const { stream, symbols } of others)
        if (!isSame(stream, first!.stream))
          expect(isSame(await device.decodeSymbols(stream), symbols), `symbols of picture ${index} on ${name}`).toBe(
            true,
          )
      return decoded.rgb
    }
    const pixels = await Promise.all([...devices].map(decode))
    for (const rgb of pixels.slice(1)) {
      total.levels += rgb.length
      for (let i = 0; i < rgb.length; i++) {
        const apart = Math.abs(rgb[i]! - pixels[0]![i]!)
        if (apart > 0) total.differingLevels++
        if (apart > total.farthestLevels) total.farthestLevels = apart
      }
    }
  }
  return total
}

const describeAgreement = (a: Agreement): string =>
  `encoders differ in ${a.differingSymbols} of ${a.symbols} symbols; decoders in ${a.differingLevels} of ${a.levels} levels, at most by ${a.farthestLevels}`

describe('any device decodes any stream', async () => {
  const paths = await findPictures()
  const { manifest } = await openCodecFamily(FAMILY)
  const variants = manifest.variants.map(({ id }) => id)
  const how = (index: number) => ({ variant: variants[index % variants.length]!, alpha255: (index * 53) % 256 })
  const read = ({ first, others }: { first: Size | 'whole'; others: Size }) =>
    Promise.all(paths.map((path, index) => readPicture(path, index < variants.length ? first : others)))
  let folder: string
  const devices = new Map<string, ForkedDevice>()

  beforeAll(async () => {
    // Beside the project's packages, so that they are found from there.
    folder = await mkdtemp(join(ROOT, 'node_modules/.any-device-'))
    await bundleForNode(join(import.meta.dirname, 'node-device.ts'), folder)
    const entry = join(folder, 'node-device.mjs')
    devices.set('wasm, 1 thread', forkDevice(entry, FAMILY, { backend: 'wasm', threads: 1 }))
    devices.set('wasm, 2 threads', forkDevice(entry, FAMILY, { backend: 'wasm', threads: 2 }))
    devices.set('native', forkDevice(entry, FAMILY, { backend: 'native', threads: 1 }))
  })
  afterAll(async () => {
    for (const device of devices.values()) await device.close()
    await rm(folder, { recursive: true, force: true })
  })

  test('wasm with one and two threads, and native', { timeout: 600_000 }, async () => {
    const pictures = await read(IN_PROCESSES)
    const agreement = await compareDevices(devices, pictures, how)
    console.info(`${pictures.length} pictures, ${[...devices.keys()].join('; ')}: ${describeAgreement(agreement)}`)
    expect(agreement.farthestLevels).toBeLessThanOrEqual(MAX_LEVELS_APART)
    expect(agreement.differingSymbols).toBeLessThan(agreement.symbols / 500)
  })

  test('and a browser: the middle of each picture', { timeout: 600_000 }, async ({ skip }) => {
    const executable = findChromium()
    if (executable === undefined) {
      console.warn('SKIPPED browser: no Chromium on the PATH; install the Debian package "chromium"')
      return skip()
    }
    const bundle = await mkdtemp(join(tmpdir(), 'espalier-page-'))
    let page: ChromiumDevice | undefined
    try {
      await bundleForBrowser(join(import.meta.dirname, 'page-device.ts'), bundle)
      const wasm = dirname(createRequire(join(ROOT, 'shared/package.json')).resolve('onnxruntime-web'))
      page = await openChromiumDevice(executable, { page: bundle, family: FAMILY, wasm })
      const all = new Map<string, Device>([...devices, [`Chromium, ${page.backend}`, page]])
      const pictures = await read(IN_A_PAGE)
      const agreement = await compareDevices(all, pictures, how)
      console.info(
        `the middle of ${pictures.length} pictures, with Chromium on ${page.backend} (${page.description}): ${describeAgreement(agreement)}`,
      )
      expect(agreement.farthestLevels).toBeLessThanOrEqual(MAX_LEVELS_APART)
    } finally {
      await page?.close()
      await rm(bundle, { recursive: true, force: true })
    }
  })
})
