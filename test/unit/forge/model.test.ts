import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import {
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from '@espalier/forge/graph/onnx_pb'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, openRunner, randomFeeds } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor, TYPE, toHalf } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { lineageOf, openModelFile, saveModelFile } from '@espalier/forge/model-file'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildGraph, buildModel, randomTensor } from './build-graph.ts'

const ROOT = join(import.meta.dirname, '../../..')
const THIRD_PARTY = process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data')
const SHAPES = new Map([['x', [1, 3, 48, 192]]])
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-forge-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const relu = { op: 'Relu', name: 'act', inputs: ['x'], outputs: ['y'] }
const small = { inputs: { x: [1, 2, 3, 3] }, nodes: [relu], outputs: ['y'] }

async function outputsOf(bytes: Uint8Array): Promise<string> {
  const graph = readModel(bytes, 'model')
  const inputs = inputShapes(graph, SHAPES)
  const runner = await openRunner(graph, 'model')
  const found = await runner.run(randomFeeds(inputs))
  await runner.close()
  const hash = createHash('sha256')
  for (const { name } of graph.outputs) hash.update(new Uint8Array(found[name]!.data.buffer))
  return hash.digest('hex')
}

describe('a model that is read and written', () => {
  const models = join(THIRD_PARTY, 'models')
  const files = existsSync(models) ? readdirSync(models).filter((name) => name.endsWith('.onnx')) : []
  if (files.length === 0) process.stderr.write(`SKIPPED third-party models: "${models}" is absent\n`)

  for (const file of files)
    test(`${file} gives identical outputs, and is the same again the second time`, async () => {
      const before = await readFile(join(models, file))
      const once = writeModel(readModel(before, file))
      expect(await outputsOf(once)).toBe(await outputsOf(before))
      expect(Buffer.compare(writeModel(readModel(once, file)), once)).toBe(0)
    })

  test("the project's own graphs come back byte for byte after the first writing", async () => {
    const manifest = JSON.parse(await readFile(join(ROOT, 'models/kodo/manifest.json'), 'utf8'))
    const graphs = [
      ...manifest.variants.map((v: { encoder: object }) => v.encoder),
      ...Object.values(manifest.decoders),
    ]
    for (const { sha256 } of graphs as { sha256: string }[]) {
      const before = await readFile(join(ROOT, 'models/kodo/blobs', sha256))
      const once = writeModel(readModel(before, sha256))
      const parsed = [new Uint8Array(before), once].map((bytes) => fromBinary(ModelProtoSchema, bytes).graph!)
      expect(parsed[1]!.node).toEqual(parsed[0]!.node)
      expect(parsed[1]!.input).toEqual(parsed[0]!.input)
      expect(Buffer.compare(writeModel(readModel(once, sha256)), once)).toBe(0)
    }
  })

  test('keeps metadata, docs and initializers that are listed as inputs', () => {
    const model = fromBinary(ModelProtoSchema, buildModel({ ...small, weights: { unused: randomTensor([2], 1) } }))
    model.metadataProps.push(create(StringStringEntryProtoSchema, { key: 'author', value: 'someone' }))
    model.docString = 'doc'
    model.graph!.input.push({ ...model.graph!.input[0]!, name: 'unused' })
    const graph = readModel(toBinary(ModelProtoSchema, model), 'model')
    expect(graph.inputs.map(({ name }) => name)).toEqual(['x'])
    const written = fromBinary(ModelProtoSchema, writeModel(graph))
    expect(written.metadataProps.map(({ key }) => key)).toEqual(['author'])
    expect(written.docString).toBe('doc')
    expect(written.graph!.input.map(({ name }) => name)).toEqual(['x', 'unused'])
  })

  test('reads float16 and int64, in fields or raw, and tensors in a file beside it', async () => {
    expect([...floatsOf(floatTensor([1.5, -0.25, 65504, 2 ** -24], [4], TYPE.FLOAT16), 'half')]).toEqual([
      1.5,
      -0.25,
      65504,
      2 ** -24,
    ])
    expect(toHalf(1 + 2 ** -11)).toBe(0x3c00)
    expect(toHalf(1 + 3 * 2 ** -11)).toBe(0x3c02)
    const model = fromBinary(
      ModelProtoSchema,
      buildModel({
        ...small,
        nodes: [{ op: 'Mul', inputs: ['x', 'w'], outputs: ['y'] }],
        weights: { w: floatTensor([3], [1]) },
      }),
    )
    const outside = create(TensorProtoSchema, {
      name: 'w',
      dims: [1n],
      dataType: TYPE.FLOAT,
      dataLocation: TensorProto_DataLocation.EXTERNAL,
      externalData: [
        create(StringStringEntryProtoSchema, { key: 'location', value: 'w.bin' }),
        create(StringStringEntryProtoSchema, { key: 'offset', value: '4' }),
      ],
    })
    model.graph!.initializer = [outside]
    await writeFile(join(folder, 'w.bin'), new Uint8Array(Float32Array.of(9, 7).buffer))
    const path = join(folder, 'outside.onnx')
    await writeFile(path, toBinary(ModelProtoSchema, model))
    const { graph } = await openModelFile(path)
    expect([...floatsOf(graph.initializers.get('w')!, 'w')]).toEqual([7])
    outside.externalData[0]!.value = '../secret.bin'
    await writeFile(path, toBinary(ModelProtoSchema, model))
    await expect(openModelFile(path)).rejects.toThrow(/outside of its folder/)
  })

  test('carries what was done to it', async () => {
    const path = join(folder, 'step.onnx')
    await saveModelFile(path, buildGraph(small), { pass: 'fold', parameters: { slope: 1 }, from: 'ab' })
    const { graph } = await openModelFile(path)
    await saveModelFile(path, graph, { pass: 'prune', parameters: {}, from: 'cd' })
    expect(lineageOf((await openModelFile(path)).graph).map(({ pass }) => pass)).toEqual(['fold', 'prune'])
  })
})

describe('a model that is wrong', () => {
  const bytes = buildModel(small)

  test('is refused at every length that is too short', () => {
    let refused = 0
    for (let length = 0; length < bytes.length; length++) {
      try {
        readModel(bytes.subarray(0, length), 'cut')
      } catch (error) {
        expect((error as Error).name).toBe('ModelError')
        refused++
      }
    }
    expect(refused).toBe(bytes.length)
  })

  test('is refused with the name of what is wrong', async () => {
    expect(() => readModel(buildModel({ ...small, opset: 99 }), 'new')).toThrow(/opset 99, expected 7 to/)
    expect(() => readModel(buildModel({ ...small, opset: 3 }), 'old')).toThrow(/opset 3/)
    expect(() => readModel(buildModel({ ...small, nodes: [{ ...relu, inputs: ['gone'] }] }), 'm')).toThrow(
      /Relu "act" reads "gone"/,
    )
    expect(() => readModel(buildModel({ ...small, outputs: ['z'] }), 'm')).toThrow(/output "z"/)
    const unknown = buildGraph({ ...small, nodes: [{ ...relu, op: 'Frobnicate' }] })
    await expect(openRunner(unknown, 'm')).rejects.toThrow(/Frobnicate|act/)
  })
})
