import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Graph } from '@espalier/forge/graph/graph'
import {
  type ModelProto,
  ModelProtoSchema,
  StringStringEntryProtoSchema,
  TensorProto_DataLocation,
  TensorProtoSchema,
} from '@espalier/forge/graph/onnx_pb'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { floatTensor, TYPE } from '@espalier/forge/graph/tensor'
import { openModelFile } from '@espalier/forge/model-file'
import { collapse, rankRectifiers } from '@espalier/forge/passes/collapse'
import { fold, hoistConstants } from '@espalier/forge/passes/fold'
import { findBlocks, judgeSums, removeBlocks, requireBlocks } from '@espalier/forge/passes/skip'
import { verify } from '@espalier/forge/passes/verify'
import { ModelError } from '@espalier/shared/errors'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildModel, type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'
import { randomFrom } from './random-net.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-hostile-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

/** Everything that passes do with a model; what they make is held against it. @returns The largest difference. */
async function workOn(graph: Graph): Promise<number> {
  const original = hoistConstants(graph)
  const probe = (each: Graph) => probeShapes(each, 'model')
  const shapes = await probe(original)
  const { graph: folded } = fold(original, shapes)
  const found = await verify(graph, folded, inputShapes(graph), { runs: 1, withInner: false })
  if (rankRectifiers(original, shapes, 'tlc').some(({ score }) => score !== null))
    await probe((await collapse(original, probe, { method: 'tlc' })).graph)
  for (const block of findBlocks(original, shapes)) await probe(removeBlocks(original, [block]))
  judgeSums(original, shapes)
  return found.outputs.relative
}

const conv: NodeSpec = {
  op: 'Conv',
  name: 'conv',
  inputs: ['x', 'w'],
  outputs: ['c'],
  attributes: { pads: [1, 1, 1, 1] },
}
const tail: NodeSpec[] = [
  { op: 'BatchNormalization', name: 'norm', inputs: ['c', 's', 's', 't', 's'], outputs: ['n'] },
  { op: 'Relu', name: 'act', inputs: ['n'], outputs: ['r'] },
  { op: 'Conv', name: 'back', inputs: ['r', 'v'], outputs: ['b'] },
  { op: 'Add', name: 'sum', inputs: ['b', 'x'], outputs: ['a'] },
  { op: 'GlobalAveragePool', name: 'pool', inputs: ['a'], outputs: ['p'] },
  { op: 'Flatten', name: 'flat', inputs: ['p'], outputs: ['f'] },
  { op: 'Gemm', name: 'head', inputs: ['f', 'g'], outputs: ['y'] },
]
const spec: GraphSpec = {
  inputs: { x: [1, 2, 4, 4] },
  weights: {
    w: randomTensor([3, 2, 3, 3], 1),
    s: floatTensor([0.5, 1, 2], [3]),
    t: randomTensor([3], 2),
    v: randomTensor([2, 3, 1, 1], 3),
    g: randomTensor([2, 2], 4),
  },
  nodes: [conv, ...tail],
  outputs: ['y'],
}
const edited = (edit: (model: ModelProto) => unknown): Uint8Array => {
  const model = fromBinary(ModelProtoSchema, buildModel(spec))
  edit(model)
  return toBinary(ModelProtoSchema, model)
}
const withNodes = (...nodes: NodeSpec[]): Uint8Array => buildModel({ ...spec, nodes })

describe('a model that is wrong', () => {
  const cases: Record<string, [bytes: Uint8Array, message: RegExp]> = {
    'is of opset 6': [buildModel({ ...spec, opset: 6 }), /found opset 6, expected 7 to 26/],
    'is of opset 99': [buildModel({ ...spec, opset: 99 }), /found opset 99/],
    'names no opset': [edited((model) => model.opsetImport.splice(0)), /found opset none/],
    'has no graph': [edited((model) => delete model.graph), /found no graph/],
    'has an unknown operator': [withNodes({ ...conv, op: 'Frobnicate' }, ...tail), /Frobnicate/],
    'has an operator of a vendor': [withNodes({ ...conv, domain: 'vendor' }, ...tail), /vendor/],
    'is wired in a circle': [
      withNodes({ ...conv, inputs: ['b', 'w'] }, ...tail),
      /node \w+ "\w+" reads "\w", which depends on it in a circle/,
    ],
    'reads itself': [withNodes({ ...conv, inputs: ['c', 'w'] }, ...tail), /Conv "conv" reads "c", which depends on it/],
    'reads what nothing makes': [
      withNodes({ ...conv, inputs: ['z', 'w'] }, ...tail),
      /Conv "conv" reads "z", which nothing/,
    ],
    'makes a value twice': [
      withNodes(conv, { ...conv, name: 'twin' }, ...tail),
      /"twin" makes "c", which is there already/,
    ],
    'makes nothing': [withNodes(conv, { ...conv, name: 'idle', outputs: [''] }, ...tail), /"idle" makes nothing/],
    'gives out what nothing makes': [buildModel({ ...spec, outputs: ['q'] }), /nothing makes its output "q"/],
    'has two tensors of one name': [
      edited((model) => model.graph!.initializer.push(model.graph!.initializer[0]!)),
      /two tensors are called "w"/,
    ],
    'has a tensor of negative size': [
      edited((model) => {
        model.graph!.initializer[0]!.dims = [-3n, -2n, 3n, 3n]
      }),
      /tensor "w": found shape -3 x -2 x 3 x 3/,
    ],
    'has a tensor larger than anything': [
      edited((model) => {
        model.graph!.initializer[0]!.dims = [2n ** 62n, 2n, 3n, 3n]
      }),
      /tensor "w": found shape/,
    ],
    'has a tensor that is too short': [
      edited((model) => {
        model.graph!.initializer[0]!.dims = [2n ** 40n, 2n, 3n, 3n]
      }),
      /tensor "w": found 216 bytes, expected/,
    ],
    'has a tensor without numbers': [
      edited((model) => {
        model.graph!.initializer[0]!.dims = [0n, 2n, 3n, 3n]
        model.graph!.initializer[0]!.rawData = new Uint8Array()
      }),
      /conv|w/,
    ],
    'has a tensor of an unknown type': [
      edited((model) => {
        model.graph!.initializer[0]!.dataType = 99 as never
      }),
      /tensor "w": element type 99 is not supported/,
    ],
    'has weights of the wrong shape': [
      edited((model) => {
        model.graph!.initializer[0]!.dims = [2n, 3n, 3n, 3n]
      }),
      /BatchNormalization "norm": .*ShapeInferenceError/,
    ],
    'has an input larger than anything': [
      buildModel({ ...spec, inputs: { x: [1, 2, 2 ** 31, 2 ** 31] } }),
      /input "x" is 1 x 2 x 2147483648 x 2147483648, expected/,
    ],
    'has an input without a type': [edited((model) => delete model.graph!.input[0]!.type), /input "x" is no tensor/],
    'leaves its size open': [buildModel({ ...spec, inputs: { x: [1, 2, -1, 4] } }), /input "x".*open dimensions/],
    'has padding larger than memory': [
      withNodes({ ...conv, attributes: { pads: [2 ** 28, 2 ** 28, 2 ** 28, 2 ** 28] } }, ...tail),
      /(Conv "conv"|Add "sum"): .*ShapeInferenceError/,
    ],
  }
  test.for(Object.entries(cases))('is refused with what is wrong: it %s', async ([, [bytes, message]]) => {
    const error = await (async () => workOn(readModel(bytes, 'model')))().then(
      () => undefined,
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(ModelError)
    expect((error as Error).message).toMatch(message)
  })

  test('is refused when its data in another file is absent, outside, short or at no place', async () => {
    const outside = (entries: Record<string, string>): Uint8Array =>
      edited((model) => {
        model.graph!.initializer[0] = create(TensorProtoSchema, {
          name: 'w',
          dims: [3n, 2n, 3n, 3n],
          dataType: TYPE.FLOAT,
          dataLocation: TensorProto_DataLocation.EXTERNAL,
          externalData: Object.entries(entries).map(([key, value]) =>
            create(StringStringEntryProtoSchema, { key, value }),
          ),
        })
      })
    await writeFile(join(folder, 'w.bin'), spec.weights!.w!.data)
    const path = join(folder, 'outside.onnx')
    const open = async (entries: Record<string, string>): Promise<Graph> => {
      await writeFile(path, outside(entries))
      return (await openModelFile(path)).graph
    }
    expect(await workOn(await open({ location: 'w.bin' }))).toBeLessThan(1e-5)
    for (const [entries, message] of [
      [{ location: 'none.bin' }, /"none.bin" is absent/],
      [{ location: '.' }, /"\." is absent/],
      [{ location: '../w.bin' }, /"..\/w.bin" lies outside of its folder/],
      [{ location: '/etc/hostname' }, /lies outside of its folder/],
      [{}, /lies outside of its folder/],
      [{ location: 'w.bin', offset: '8' }, /"w": found 208 bytes, expected 216/],
      [{ location: 'w.bin', offset: '-8' }, /"w": found offset "-8"/],
      [{ location: 'w.bin', offset: 'here' }, /"w": found offset "here"/],
      [{ location: 'w.bin', length: '1e3' }, /length "1e3"/],
    ] as const)
      await expect(open(entries)).rejects.toThrow(message)
    expect(() => readModel(outside({ location: 'w.bin' }), 'model')).toThrow(
      /"w": its data lies in "w.bin", which was not given/,
    )
  })

  test('has no block to skip, and says why', async () => {
    const graph = readModel(withNodes(conv, { op: 'Relu', name: 'act', inputs: ['c'], outputs: ['y'] }), 'model')
    const shapes = await probeShapes(graph, 'model')
    expect(() => requireBlocks(graph, shapes, 'model')).toThrow(ModelError)
  })
})

/** What becomes of a model after an accident: an error in words, or work on whatever it is now. */
async function outcomeOf(bytes: Uint8Array): Promise<'refused' | number> {
  try {
    return await workOn(readModel(bytes, 'model'))
  } catch (error) {
    if (error instanceof ModelError) return 'refused'
    throw error
  }
}

async function survive(bytes: Uint8Array, seeds: number, isIn: (at: number) => boolean) {
  let [refused, worked, worst] = [0, 0, 0]
  for (let seed = 1; seed <= seeds; seed++) {
    const { below } = randomFrom(seed)
    const changed = Uint8Array.from(bytes)
    const flips = seed % 5 === 0 ? 0 : 1 + below(3)
    for (let i = 0; i < flips; ) {
      const at = below(changed.length)
      if (!isIn(at)) continue
      changed[at]! ^= 1 << below(8)
      i++
    }
    const cut = flips === 0 ? changed.subarray(0, below(changed.length)) : changed
    const outcome = await outcomeOf(cut).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error })
    })
    if (outcome === 'refused') refused++
    else {
      worked++
      worst = Math.max(worst, outcome)
      expect(outcome, `seed ${seed}`).toBeLessThan(1e-3)
    }
  }
  process.stdout.write(`${refused} refused, ${worked} worked on; largest difference ${worst.toExponential(1)}\n`)
  return { refused, worked }
}

describe('a model with bits turned or its end cut off', () => {
  test('is refused or worked on as what it is, a small one', { timeout: 120_000 }, async () => {
    const bytes = buildModel(spec)
    const { refused, worked } = await survive(bytes, 400, () => true)
    expect(refused).toBeGreaterThan(50)
    expect(worked).toBeGreaterThan(50)
  })

  const models = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
  if (!existsSync(models)) process.stderr.write(`SKIPPED accidents of a third-party model: "${models}" is absent\n`)
  test.skipIf(!existsSync(models))(
    'is refused or worked on as what it is, a real one',
    { timeout: 120_000 },
    async () => {
      const bytes = new Uint8Array(await readFile(join(models, 'cifar10_resnet_4b.onnx')))
      // Structure is what can go wrong; most of the file is weights.
      const text = Buffer.from(bytes)
      const isNearText = (at: number): boolean =>
        /[A-Za-z_]{4}/.test(text.subarray(Math.max(0, at - 24), at + 24).toString('latin1'))
      await survive(bytes, 60, isNearText)
      await survive(bytes, 15, () => true)
    },
  )
})
