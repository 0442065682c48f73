import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type AssembledFamily, assembleFamily } from '@espalier/forge/family/assemble-family'
import { digestOf } from '@espalier/forge/family/digest'
import { familySizes } from '@espalier/forge/family/family-sizes'
import { judgeFamily } from '@espalier/forge/family/judge-family'
import { memorySource } from '@espalier/forge/family/memory-source'
import { MIN_TENSOR_BYTES, splitTensors } from '@espalier/forge/family/split-tensors'
import { writeFamily } from '@espalier/forge/family/write-family'
import { openModelFile, saveModelFile } from '@espalier/forge/model-file'
import { openClassifier } from '@espalier/shared/classifier/open-classifier'
import { parseManifest } from '@espalier/shared/manifest/manifest'
import { openClassifierFamily, openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { about, buildFamily, writeModels } from './build-family.ts'
import { buildGraph, type GraphSpec } from './build-graph.ts'
import { TOY_CLASSES, TOY_SIDE, toyClassifier } from './toy-classifier.ts'

let folder: string
let family: AssembledFamily
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-family-'))
  // The second has the first's convolution under another name, and a head of its own.
  family = await buildFamily(folder, { base: toyClassifier(1), other: toyClassifier(2, 'renamed.weight') })
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const picture = { width: TOY_SIDE, height: TOY_SIDE, rgb: new Uint8Array(TOY_SIDE ** 2 * 3).fill(200) }

describe('splitTensors()', () => {
  test('takes out what is large, by digest, and leaves what is small', () => {
    const { bytes, tensors } = splitTensors(buildGraph(toyClassifier()))
    expect([...tensors.keys()]).toEqual(['stem.weight', 'head.weight'])
    for (const { sha256, data } of tensors.values()) {
      expect(data.length).toBeGreaterThanOrEqual(MIN_TENSOR_BYTES)
      expect(digestOf(data)).toBe(sha256)
      expect(Buffer.from(bytes).includes(sha256)).toBe(true)
    }
    expect(bytes.length).toBeLessThan(2000)
  })

  test('is the same again for the same graph', () => {
    const [a, b] = [splitTensors(buildGraph(toyClassifier())), splitTensors(buildGraph(toyClassifier()))]
    expect(Buffer.compare(a.bytes, b.bytes)).toBe(0)
  })
})

describe('assembleFamily()', () => {
  test('stores a tensor once that two variants have, whatever they call it', () => {
    const { manifest, blobs } = family
    const [base, other] = manifest.variants
    expect(base!.tensors).toEqual(['head.weight', 'stem.weight'])
    // The same name for other bytes gets the variant's behind it; the same bytes keep the first name.
    expect(other!.tensors).toEqual(['head.weight@other', 'stem.weight'])
    const sizes = familySizes(manifest)
    expect(sizes.familyBytes).toBeLessThan(sizes.sumAloneBytes)
    expect(sizes.sumAloneBytes - sizes.familyBytes).toBe(manifest.tensors['stem.weight']!.bytes)
    const named = new Set(Object.values(manifest.tensors).map(({ sha256 }) => sha256))
    for (const sha256 of named) expect(blobs.has(sha256)).toBe(true)
  })

  test('keeps what was done to each model', async () => {
    const [base] = (await writeModels(join(folder, 'steps'), { base: toyClassifier(1) })).values()
    const path = join(folder, 'steps', 'made.onnx')
    await saveModelFile(path, base!.graph, { pass: 'fold', parameters: { slope: 0.9 }, from: base!.digest })
    const made = await openModelFile(path)
    const { manifest } = await assembleFamily(
      new Map([
        ['base', base!],
        ['made', made],
      ]),
      about,
    )
    expect(manifest.variants[1]).toMatchObject({
      source: { sha256: made.digest, bytes: made.bytes },
      lineage: [{ pass: 'fold', parameters: { slope: 0.9 }, from: base!.digest }],
    })
    // Its graph differs by its history alone.
    expect(familySizes(manifest).variants[1]!.addedBytes).toBe(manifest.variants[1]!.graph.bytes)
  })

  test('refuses models that answer different questions, and what is no classifier', async () => {
    const wide: GraphSpec = { ...toyClassifier(), inputs: { picture: [1, 3, 32, 32] } }
    await expect(buildFamily(join(folder, 'a'), { base: toyClassifier(), wide })).rejects.toThrow(/"wide"/)
    const [conv] = toyClassifier().nodes
    const map = { ...toyClassifier(), nodes: [{ ...conv!, outputs: ['logits'] }] }
    await expect(buildFamily(join(folder, 'b'), { map })).rejects.toThrow(/output "logits" is 1 x 8 x 4 x 4/)
    await expect(buildFamily(join(folder, 'c'), { base: toyClassifier() }, { labels: ['one'] })).rejects.toThrow(
      /found 1 labels, expected 5/,
    )
    await expect(buildFamily(join(folder, 'd'), { base: toyClassifier() }, { mean: [0.5] })).rejects.toThrow(
      /found 1 values of mean, expected 3/,
    )
    await expect(buildFamily(join(folder, 'f'), { base: toyClassifier() }, { dims: [1, 3, 64, 64] })).rejects.toThrow(
      /input "picture" has dimensions of its own, found 1 x 3 x 64 x 64/,
    )
    await expect(buildFamily(join(folder, 'e'), { 'Not an id': toyClassifier() })).rejects.toThrow(/--ids/)
  })
})

describe('a family that was assembled', () => {
  test('answers as its models do, with labels, and agrees with itself', async () => {
    const labels = Array.from({ length: TOY_CLASSES }, (_, i) => `class ${i}`)
    const labelled = { ...family, manifest: { ...family.manifest, labels } }
    const opened = await openClassifierFamily(memorySource(labelled))
    const classifier = await openClassifier(opened, { variant: 'base', threads: 1 })
    const { index, label, score, logits } = await classifier.run(picture)
    await classifier.close()
    expect(logits).toHaveLength(TOY_CLASSES)
    expect(index).toBe(logits.indexOf(Math.max(...logits)))
    expect(label).toBe(`class ${index}`)
    const exponentials = [...logits].map(Math.exp)
    expect(score).toBeCloseTo(exponentials[index]! / exponentials.reduce((a, b) => a + b), 5)
    const judged = await judgeFamily(opened, [{ rgb: picture.rgb, label: index }])
    expect(judged.get('base')).toEqual({ pictures: 1, accuracyPct: 100, agreementPct: 100 })
  })

  test('gives the same on the native runtime', async () => {
    const opened = await openClassifierFamily(memorySource(family))
    const found = []
    for (const backend of ['wasm', 'native'] as const) {
      const classifier = await openClassifier(opened, { variant: 'other', threads: 1, backend })
      found.push((await classifier.run(picture)).logits)
      await classifier.close()
    }
    for (const [i, value] of found[0]!.entries()) expect(found[1]![i]).toBeCloseTo(value, 3)
  })

  test('is refused with a blob that was altered, by its name', async () => {
    const { sha256 } = family.manifest.tensors['stem.weight']!
    const altered = Uint8Array.from(family.blobs.get(sha256)!, (byte, i) => (i === 7 ? byte ^ 1 : byte))
    const opened = await openClassifierFamily(
      memorySource({ ...family, blobs: new Map([...family.blobs, [sha256, altered]]) }),
    )
    await expect(openClassifier(opened, { variant: 'base', threads: 1 })).rejects.toMatchObject({
      code: 'INTEGRITY',
      message: expect.stringContaining(sha256),
    })
  })

  /** The family with another golden output for its second variant. */
  function withGolden(values: readonly number[]): AssembledFamily {
    const data = new Uint8Array(Float32Array.from(values).buffer)
    const output = { sha256: digestOf(data), bytes: data.length }
    const { golden } = family.manifest
    const cases = golden.cases.map((each) => (each.variant === 'other' ? { ...each, output } : each))
    return {
      manifest: { ...family.manifest, golden: { ...golden, cases } },
      blobs: new Map([...family.blobs, [output.sha256, data]]),
    }
  }

  test('is refused where a golden output differs, is no number or is short, and only there', async () => {
    for (const values of [[9, 9, 9, 9, 9], [Number.NaN, 0, 0, 0, 0], [0]]) {
      const opened = await openClassifierFamily(memorySource(withGolden(values)))
      await (await openClassifier(opened, { variant: 'base', threads: 1 })).close()
      await expect(openClassifier(opened, { variant: 'other', threads: 1 })).rejects.toMatchObject({
        code: 'INTEGRITY',
        message: expect.stringContaining('"toy/other"'),
      })
    }
  })

  test('is refused where its weights give no numbers', async () => {
    const { sha256 } = family.manifest.tensors['head.weight']!
    const data = new Uint8Array(new Float32Array(family.blobs.get(sha256)!.length / 4).fill(Number.NaN).buffer)
    const spoilt = digestOf(data)
    const replace = (text: string): string => text.replaceAll(sha256, spoilt)
    const graph = Buffer.from(
      replace(Buffer.from(family.blobs.get(family.manifest.variants[0]!.graph.sha256)!).toString('latin1')),
      'latin1',
    )
    const text = replace(JSON.stringify(family.manifest)).replaceAll(
      family.manifest.variants[0]!.graph.sha256,
      digestOf(graph),
    )
    const blobs = new Map([
      ...family.blobs,
      [spoilt as string, data],
      [digestOf(graph) as string, new Uint8Array(graph)],
    ])
    const manifest = parseManifest(text, 'spoilt') as AssembledFamily['manifest']
    const opened = await openClassifierFamily(memorySource({ manifest, blobs }))
    await expect(openClassifier(opened, { variant: 'base', threads: 1 })).rejects.toThrow(/golden value 0 is NaN/)
  })

  test('names what it has when asked for another variant, and says its task when taken for a codec', async () => {
    const opened = await openClassifierFamily(memorySource(family))
    await expect(openClassifier(opened, { variant: 'none', threads: 1 })).rejects.toThrow(/has "base","other"/)
    await expect(openCodecFamily(memorySource(family))).rejects.toThrow(
      /Cannot use family "toy": found task classification, expected image-codec/,
    )
  })
})

describe('writeFamily()', () => {
  test('writes what opens again, replaces a family, and leaves other folders alone', async () => {
    const place = join(folder, 'written')
    await writeFamily(place, family)
    const smaller = await buildFamily(join(folder, 'smaller'), { base: toyClassifier(1) })
    await writeFamily(place, smaller)
    expect((await openClassifierFamily(place)).manifest.variants.map(({ id }) => id)).toEqual(['base'])
    expect((await readdir(join(place, 'blobs'))).sort()).toEqual([...smaller.blobs.keys()].sort())
    expect((await readdir(folder)).filter((name) => name.startsWith('written'))).toEqual(['written'])
    await writeFile(join(folder, 'smaller', 'note.txt'), 'mine')
    await expect(writeFamily(join(folder, 'smaller'), family)).rejects.toThrow(/a folder of other things/)
    expect(await readFile(join(folder, 'smaller', 'note.txt'), 'utf8')).toBe('mine')
  })
})

describe('a manifest of a classifier', () => {
  const refuse = (change: (manifest: AssembledFamily['manifest']) => object) =>
    expect(() => parseManifest(JSON.stringify(change(structuredClone(family.manifest))), 'm'))

  test('is refused where its parts do not fit each other', () => {
    refuse((m) => ({ ...m, labels: ['one'] })).toThrow(/found 1 labels, expected 5/)
    refuse((m) => ({ ...m, tensors: {} })).toThrow(/refers to tensor "head.weight", found none/)
    refuse((m) => ({ ...m, golden: { ...m.golden, cases: [] } })).toThrow(/has no golden case/)
    refuse((m) => ({ ...m, variants: [m.variants[0], m.variants[0]] })).toThrow(/two variants of the same id/)
    refuse((m) => ({ ...m, input: { ...m.input, colour: 'grey' } })).toThrow(/found 3 channels, expected 1/)
    refuse((m) => ({ ...m, task: 'poetry' })).toThrow(/Cannot read manifest "m"/)
  })
})
