import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import {
  type AssembledFamily,
  assembleFamily,
  type FamilyDescription,
  noisePicture,
} from '@espalier/forge/family/assemble-family'
import { type FamilySizes, familySizes } from '@espalier/forge/family/family-sizes'
import { judgeFamily } from '@espalier/forge/family/judge-family'
import { memorySource } from '@espalier/forge/family/memory-source'
import { signFamily } from '@espalier/forge/family/sign-family'
import { writeFamily } from '@espalier/forge/family/write-family'
import { type LabelledPicture, readPictures } from '@espalier/forge/measure/pictures'
import { type ModelFile, openModelFile } from '@espalier/forge/model-file'
import { ConfigError } from '@espalier/shared/errors'
import type { ClassifierManifest } from '@espalier/shared/manifest/classifier-manifest'
import { openClassifierFamily } from '@espalier/shared/manifest/narrow-family'
import { createKeyFile, readKeyFile } from '@espalier/shared/signature/key-file'
import { publicKeyText } from '@espalier/shared/signature/keys'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { kilo, parseCount, shapeOption } from './forge-pass.ts'

interface FamilyOptions {
  readonly name: string
  readonly version: string
  readonly licence: string
  readonly description: string
  readonly out: string
  readonly ids?: string[]
  readonly labels?: string
  readonly colour?: 'rgb' | 'bgr' | 'grey'
  readonly mean?: number[]
  readonly deviation?: number[]
  readonly shape?: Map<string, number[]>
  readonly data?: string
  readonly heldOut: string
  readonly heldOutLimit: number
  readonly key?: string
  readonly json?: true
}

function parseNumbers(text: string): number[] {
  const values = text.split(',').map(Number)
  if (!values.every(Number.isFinite)) throw new InvalidArgumentError('Expected numbers, as in 0.485,0.456,0.406.')
  return values
}

/** @example idOf('runs/CIFAR10_resnet.onnx') // 'cifar10-resnet' */
function idOf(path: string): string {
  return basename(path, '.onnx')
    .toLowerCase()
    .replaceAll(/[^a-z0-9.]+/g, '-')
}

async function openModels(
  paths: readonly string[],
  ids: readonly string[] | undefined,
): Promise<Map<string, ModelFile>> {
  if (ids !== undefined && ids.length !== paths.length)
    throw new ConfigError(`Cannot name variants: found ${ids.length} names in --ids, expected ${paths.length}`)
  const models = new Map<string, ModelFile>()
  for (const [i, path] of paths.entries()) {
    const id = ids?.[i] ?? idOf(path)
    if (models.has(id))
      throw new ConfigError(`Cannot name variant "${id}": another has that name; give names with --ids`)
    models.set(id, await openModelFile(path))
  }
  return models
}

async function readLabels(path: string): Promise<string[]> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read labels "${path}": ${cause.code}`, { cause })
  })
  return text.trim().split(/\r?\n/)
}

/** The dimensions that were given for the one input. */
function givenDims(models: ReadonlyMap<string, ModelFile>, shape: ReadonlyMap<string, number[]> | undefined) {
  if (shape === undefined) return undefined
  const [base] = models.values()
  const names = base!.graph.inputs.map(({ name }) => name)
  const dims = names.length === 1 ? shape.get(names[0]!) : undefined
  if (dims === undefined || shape.size !== 1)
    throw new ConfigError(`Cannot use --shape of ${[...shape.keys()]}: expected one, of the input "${names}"`)
  return dims
}

/** Pictures to judge by, once their size is known. */
function readHeldOut(
  { data, heldOut, heldOutLimit }: FamilyOptions,
  size: { width: number; height: number },
): Promise<LabelledPicture[]> | undefined {
  return data === undefined ? undefined : readPictures(data, { ...size, prefix: heldOut, limit: heldOutLimit })
}

/** The same family with what its variants answered to pictures. */
async function withJudgement(
  family: AssembledFamily,
  pictures: LabelledPicture[] | undefined,
): Promise<AssembledFamily> {
  if (pictures === undefined) return family
  const judged = await judgeFamily(await openClassifierFamily(memorySource(family)), pictures)
  const variants = family.manifest.variants.map((variant) => ({ ...variant, judged: judged.get(variant.id)! }))
  return { ...family, manifest: { ...family.manifest, variants } }
}

function print({ family, version, variants }: ClassifierManifest, sizes: FamilySizes, out: string): void {
  const width = Math.max(7, ...variants.map(({ id }) => id.length))
  const percent = (value: number | undefined): string => (value === undefined ? '-' : `${value.toFixed(1)} %`)
  const cells = (id: string, ...values: string[]): string =>
    [id.padEnd(width), ...values.map((value) => value.padStart(11))].join(' ')
  const saved = 100 * (1 - sizes.familyBytes / sizes.sumAloneBytes)
  process.stdout.write(
    `${[
      cells('variant', 'file', 'alone', 'adds', 'MACs', 'accuracy', 'agreement'),
      ...variants.map(({ id, graph, judged }, i) => {
        const { fileBytes, aloneBytes, addedBytes } = sizes.variants[i]!
        const bytes = [fileBytes, aloneBytes, addedBytes].map((value) => `${kilo(value)}B`)
        return cells(id, ...bytes, kilo(graph.macs), percent(judged?.accuracyPct), percent(judged?.agreementPct))
      }),
      cells(
        'all',
        ...[sizes.sumOfFilesBytes, sizes.sumAloneBytes, sizes.familyBytes].map((value) => `${kilo(value)}B`),
      ),
      ...(variants.length > 1 && variants.some(({ judged }) => judged === undefined)
        ? [
            'not judged: a controller plans only variants of which it knows how good they are; give pictures with --data',
          ]
        : []),
      `${out}: "${family}" ${version}, ${saved.toFixed(1)} % less than its variants one by one; golden outputs verified`,
    ].join('\n')}\n`,
  )
}

async function runFamily(paths: string[], options: FamilyOptions): Promise<void> {
  const { name, version, licence, description, labels, colour, mean, deviation } = options
  // Before the work: a key that cannot be read is known at once.
  const key = options.key === undefined ? undefined : readKeyFile(options.key)
  const models = await openModels(paths, options.ids)
  const about: FamilyDescription = {
    family: name,
    version,
    licence,
    description,
    labels: labels === undefined ? undefined : await readLabels(labels),
    colour,
    mean,
    deviation,
    dims: givenDims(models, options.shape),
  }
  let pictures: LabelledPicture[] | undefined
  const assembled = await assembleFamily(models, about, async (size) => {
    pictures = await readHeldOut(options, size)
    return pictures === undefined ? noisePicture(size) : { ...size, rgb: pictures[0]!.rgb }
  })
  const family = await withJudgement(assembled, pictures)
  await writeFamily(options.out, family)
  if (key !== undefined) await signFamily(options.out, key)
  const { manifest } = family
  const sizes = familySizes(manifest)
  if (options.json) process.stdout.write(`${JSON.stringify({ manifest, sizes }, undefined, 2)}\n`)
  else print(manifest, sizes, options.out)
}

async function runSign(folder: string, options: { key: string }): Promise<void> {
  const key = readKeyFile(options.key)
  await signFamily(folder, key)
  process.stdout.write(`${folder}: signed by ${publicKeyText(key)}\n`)
}

export function registerForgeFamily(forge: Command): void {
  forge
    .command('key')
    .description('make a private key that families are signed with, and print its public half for "familyKey"')
    .argument('<file>', 'written for this user alone; nothing that is there is replaced')
    .action((file: string) => void process.stdout.write(`${publicKeyText(createKeyFile(file))}\n`))
  forge
    .command('sign')
    .description('sign the manifest of a family, for agents and controllers that ask for it ("familyKey")')
    .argument('<folder>', 'of the family')
    .requiredOption('--key <file>', 'private key, as "espalier forge key" makes')
    .action(runSign)
  forge
    .command('family')
    .description(
      'put models that answer the same question into a family that agents run: tensors that they share are stored once',
    )
    .argument('<models...>', 'the first is the one that the others are compared with')
    .requiredOption('-o, --out <folder>', 'where to write; a family that is there is replaced')
    .requiredOption('--name <name>', 'of the family')
    .option('--version <v>', 'of the family', '0.1.0')
    .option('--key <file>', 'sign the manifest with this private key, as "espalier forge key" makes')
    .requiredOption('--licence <id>', 'of the models, as an SPDX name')
    .option('--description <text>', 'a sentence', '')
    .option('--ids <list>', 'names of the variants; their files say unless given', (text) => text.split(','))
    .option('--labels <file>', 'names of the classes, one a line')
    .addOption(new Option('--colour <order>', 'channels of the input').choices(['rgb', 'bgr', 'grey']))
    .option('--mean <list>', 'of each channel, on the 0..1 scale', parseNumbers)
    .option('--deviation <list>', 'of each channel, on the 0..1 scale', parseNumbers)
    .addOption(shapeOption())
    .option('--data <folder>', 'pictures to judge by, or sheets of them with labels (docs/forge.md)')
    .option('--held-out <prefix>', 'files to judge by', 'test')
    .option('--held-out-limit <n>', 'pictures to judge by', parseCount, 1000)
    .option('--json', 'print one JSON document')
    .action(runFamily)
}
