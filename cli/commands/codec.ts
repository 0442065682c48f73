import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readPicture } from '@espalier/forge/measure/evaluate'
import { HEADER_BYTES, readStream } from '@espalier/shared/codec/container'
import { openCodec } from '@espalier/shared/codec/open-codec'
import type { EncodedPicture, Picture, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import type { CodecFamily } from '@espalier/shared/manifest/open-family'
import { type Command, InvalidArgumentError, Option } from 'commander'
import sharp from 'sharp'
import { DEFAULT_FAMILY_DIR } from '../models.ts'

export function familyOption(): Option {
  return new Option('--family <folder>', 'the family to use').default(DEFAULT_FAMILY_DIR, 'models/kodo')
}

export function parseAlpha(text: string): number {
  const alpha = Number(text)
  if (text.trim() === '' || !(alpha >= 0 && alpha <= 1))
    throw new InvalidArgumentError('Alpha is a number from 0 to 1.')
  return alpha
}

function parseBytes(text: string): number {
  const bytes = Number(text)
  if (!Number.isInteger(bytes) || bytes < 1) throw new InvalidArgumentError('Bytes is a whole number from 1.')
  return bytes
}

async function readInput(path: string): Promise<Uint8Array> {
  return readFile(path).catch((cause: unknown) => {
    throw new ConfigError(`Cannot read "${path}": ${describeError(cause)}`, { cause })
  })
}

/** Written aside and renamed: there is never half a file under the wanted name. */
async function writeOutput(path: string, data: Uint8Array): Promise<void> {
  const aside = `${path}.${process.pid}.tmp`
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(aside, data)
    await rename(aside, path)
  } catch (cause) {
    throw new ConfigError(`Cannot write "${path}": ${describeError(cause)}`, { cause })
  }
}

async function withCodec<T>(
  directory: string,
  use: (codec: PictureCodec, family: CodecFamily) => Promise<T>,
): Promise<T> {
  const family = await openCodecFamily(directory)
  const codec = await openCodec(family, { threads: 1 })
  try {
    return await use(codec, family)
  } finally {
    await codec.close()
  }
}

/** The best quality whose stream is no longer than `targetBytes`, by halving the range of alpha. */
async function encodeWithin(
  codec: PictureCodec,
  picture: Picture,
  { variant, targetBytes }: { variant: string; targetBytes: number },
): Promise<EncodedPicture> {
  let fitting = await codec.encode(picture, { variant, alpha255: 255 })
  if (fitting.stream.length > targetBytes)
    throw new ConfigError(
      `Cannot encode in ${targetBytes} bytes: the lowest rate takes ${fitting.stream.length}; make the picture smaller`,
    )
  for (let [low, high] = [-1, 255]; high - low > 1; ) {
    const alpha255 = (low + high) >> 1
    const encoded = await codec.encode(picture, { variant, alpha255 })
    if (encoded.stream.length > targetBytes) low = alpha255
    else [high, fitting] = [alpha255, encoded]
  }
  return fitting
}

async function encode(
  input: string,
  output: string,
  options: { alpha: number; targetBytes?: number; variant: string; family: string },
): Promise<void> {
  const picture = await readPicture(input)
  const { variant, targetBytes } = options
  const alpha255 = Math.round(options.alpha * 255)
  await withCodec(options.family, async (codec) => {
    const { stream } =
      targetBytes === undefined
        ? await codec.encode(picture, { variant, alpha255 })
        : await encodeWithin(codec, picture, { variant, targetBytes })
    await writeOutput(output, stream)
    const bpp = (stream.length * 8) / (picture.width * picture.height)
    process.stderr.write(
      `${output}: ${picture.width} x ${picture.height}, ${stream.length} bytes, ${bpp.toFixed(3)} bit/pixel\n`,
    )
  })
}

async function decode(input: string, output: string, options: { light?: true; family: string }): Promise<void> {
  const stream = await readInput(input)
  const decoder = options.light ? 'light' : 'full'
  const { width, height, rgb } = await withCodec(options.family, (codec) => codec.decode(stream, { decoder }))
  const file = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
  await writeOutput(output, file)
  process.stderr.write(`${output}: ${width} x ${height}\n`)
}

/** Sixty-four blocks a line, each as high as its share of the highest. */
function drawBars(values: readonly number[]): string[] {
  const steps = ' ▁▂▃▄▅▆▇█'
  const highest = Math.max(...values, 1)
  const bars = values.map((value) => steps[Math.ceil((value / highest) * (steps.length - 1))]!)
  const lines: string[] = []
  for (let i = 0; i < bars.length; i += 64) lines.push(`  ${String(i).padStart(4)} ${bars.slice(i, i + 64).join('')}`)
  return lines
}

async function inspect(input: string, options: { json?: true; family: string }): Promise<void> {
  const stream = await readInput(input)
  const { header } = readStream(stream)
  const family = await openCodecFamily(options.family).catch(() => undefined)
  const isOurs = family?.codecDigest.startsWith(header.codecDigest) ?? false
  // What follows another frame cannot be read without it.
  const bitsByChannel =
    isOurs && header.frameKind === 'key'
      ? await withCodec(options.family, async (codec) => [...codec.decodeSymbols(stream).bitsByChannel])
      : null
  const described = {
    ...header,
    alpha: Number((header.alpha255 / 255).toFixed(4)),
    streamBytes: stream.length,
    bitsPerPixel: Number(((stream.length * 8) / (header.width * header.height)).toFixed(5)),
    family: isOurs ? family!.manifest.family : null,
    variant: isOurs ? (family!.manifest.variants[header.variantIndex]?.id ?? null) : null,
  }
  const sections = { headerBytes: HEADER_BYTES, payloadBytes: header.payloadBytes, checksumBytes: 4 }
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ...described, sections, bitsByChannel }, undefined, 2)}\n`)
    return
  }
  const lines = Object.entries(described).map(([field, value]) => `${field.padEnd(14)} ${value}`)
  lines.push(`sections       header ${HEADER_BYTES}, payload ${header.payloadBytes}, checksum 4 bytes`)
  if (bitsByChannel !== null) {
    const silent = bitsByChannel.filter((bits) => bits < 8).length
    lines.push(
      `bits a channel ${Math.max(...bitsByChannel).toFixed(0)} at most, under 8 in ${silent} of ${bitsByChannel.length}:`,
    )
    lines.push(...drawBars(bitsByChannel))
  } else if (header.frameKind === 'inter') {
    lines.push(`bits a channel not known: the frame follows another (${header.referenceCrc.toString(16)})`)
  }
  process.stdout.write(`${lines.join('\n')}\n`)
}

export function registerCodecCommands(program: Command): void {
  program
    .command('encode')
    .description('encode a picture into a stream')
    .argument('<picture>', 'PNG, JPEG, WebP, AVIF or TIFF')
    .argument('<stream>', 'the file to write, e.g. out.esp')
    .option('--alpha <0..1>', '0 is the best quality, 1 the lowest rate', parseAlpha, 0)
    .option('--target-bytes <n>', 'the best quality in so many bytes, instead of an alpha', parseBytes)
    .option('--variant <id>', 'the encoder to use', 'full')
    .addOption(familyOption())
    .action(encode)
  program
    .command('decode')
    .description('decode a stream into a PNG')
    .argument('<stream>', 'a file that "encode" wrote')
    .argument('<picture>', 'the PNG to write')
    .option('--light', 'with the light decoder: less work, a little less quality')
    .addOption(familyOption())
    .action(decode)
  program
    .command('inspect')
    .description('check a stream and show its header, its sections and the bits of each channel')
    .argument('<stream>', 'a file that "encode" wrote')
    .option('--json', 'print one JSON document')
    .addOption(familyOption())
    .action(inspect)
}
