import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { readPicture } from '@espalier/forge/measure/evaluate'
import { readStream } from '@espalier/shared/codec/container'
import { openCodec } from '@espalier/shared/codec/open-codec'
import type { PictureCodec } from '@espalier/shared/codec/picture-codec'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { type Family, openFamily } from '@espalier/shared/manifest/open-family'
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

async function withCodec<T>(directory: string, use: (codec: PictureCodec, family: Family) => Promise<T>): Promise<T> {
  const family = await openFamily(directory)
  const codec = await openCodec(family, { threads: 1 })
  try {
    return await use(codec, family)
  } finally {
    await codec.close()
  }
}

async function encode(
  input: string,
  output: string,
  options: { alpha: number; variant: string; family: string },
): Promise<void> {
  const picture = await readPicture(input)
  const alpha255 = Math.round(options.alpha * 255)
  await withCodec(options.family, async (codec) => {
    const { stream } = await codec.encode(picture, { variant: options.variant, alpha255 })
    await writeOutput(output, stream)
    const bpp = (stream.length * 8) / (picture.width * picture.height)
    process.stderr.write(
      `${output}: ${picture.width} x ${picture.height}, ${stream.length} bytes, ${bpp.toFixed(3)} bit/pixel\n`,
    )
  })
}

async function decode(input: string, output: string, options: { family: string }): Promise<void> {
  const stream = await readInput(input)
  const { width, height, rgb } = await withCodec(options.family, (codec) => codec.decode(stream))
  const file = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer()
  await writeOutput(output, file)
  process.stderr.write(`${output}: ${width} x ${height}\n`)
}

async function inspect(input: string, options: { json?: true; family: string }): Promise<void> {
  const stream = await readInput(input)
  const { header } = readStream(stream)
  const family = await openFamily(options.family).catch(() => undefined)
  const isOurs = family?.codecDigest.startsWith(header.codecDigest) ?? false
  const described = {
    ...header,
    alpha: Number((header.alpha255 / 255).toFixed(4)),
    streamBytes: stream.length,
    bitsPerPixel: Number(((stream.length * 8) / (header.width * header.height)).toFixed(5)),
    family: isOurs ? family!.manifest.family : null,
    variant: isOurs ? (family!.manifest.variants[header.variantIndex]?.id ?? null) : null,
  }
  if (options.json) process.stdout.write(`${JSON.stringify(described, undefined, 2)}\n`)
  else for (const [field, value] of Object.entries(described)) process.stdout.write(`${field.padEnd(14)} ${value}\n`)
}

export function registerCodecCommands(program: Command): void {
  program
    .command('encode')
    .description('encode a picture into a stream')
    .argument('<picture>', 'PNG, JPEG, WebP, AVIF or TIFF')
    .argument('<stream>', 'the file to write, e.g. out.esp')
    .option('--alpha <0..1>', '0 is the best quality, 1 the lowest rate', parseAlpha, 0)
    .option('--variant <id>', 'the encoder to use', 'base')
    .addOption(familyOption())
    .action(encode)
  program
    .command('decode')
    .description('decode a stream into a PNG')
    .argument('<stream>', 'a file that "encode" wrote')
    .argument('<picture>', 'the PNG to write')
    .addOption(familyOption())
    .action(decode)
  program
    .command('inspect')
    .description('check a stream and show its header')
    .argument('<stream>', 'a file that "encode" wrote')
    .option('--json', 'print one JSON document')
    .addOption(familyOption())
    .action(inspect)
}
