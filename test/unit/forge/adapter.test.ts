import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { roundAdapter, toTensorFile } from '@espalier/forge/adapter/adapter-file'
import { convertPairs } from '@espalier/forge/adapter/convert'
import { extractAdapter } from '@espalier/forge/adapter/extract'
import { findLayers, matrixOf, storeMatrix } from '@espalier/forge/adapter/layers'
import { liveAdapter } from '@espalier/forge/adapter/live'
import { mergeAdapter } from '@espalier/forge/adapter/merge'
import { type Adapter, countNumbers, type Pair, productOf } from '@espalier/forge/adapter/pair'
import { parsePeftConfig } from '@espalier/forge/adapter/peft-config'
import { findSeries } from '@espalier/forge/adapter/series'
import { keepBest, scoreNeurons, sliceAdapters } from '@espalier/forge/adapter/slice'
import { spendBudget, truncateAdapter } from '@espalier/forge/adapter/truncate'
import type { Graph } from '@espalier/forge/graph/graph'
import { inputShapes } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor, type Tensor, TYPE } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { openModelFile } from '@espalier/forge/model-file'
import { applyAdapter } from '@espalier/forge/passes/adapter'
import { hoistConstants } from '@espalier/forge/passes/fold'
import { quantiseHalf } from '@espalier/forge/passes/quantise-half'
import { verify } from '@espalier/forge/passes/verify'
import { readSafetensors, writeSafetensors } from '@espalier/forge/safetensors'
import { ConfigError, ModelError } from '@espalier/shared/errors'
import { Command } from 'commander'
import { registerForgeAdapter } from 'espalier/commands/forge-adapter'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { buildGraph, buildModel, type GraphSpec, randomTensor } from './build-graph.ts'

const SEED = 13
const ROOT = join(import.meta.dirname, '../../..')
const MODELS = join(process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data'), 'models')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-adapter-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const randomValues = (dims: readonly number[], seed: number): Float64Array =>
  floatsOf(randomTensor(dims, seed), 'random')

const randomPair = (weight: string, outputs: number, inputs: number, rank: number, seed: number): Pair => ({
  weight,
  outputs,
  inputs,
  rank,
  up: randomValues([outputs, rank], seed),
  down: randomValues([rank, inputs], seed + 1),
})

/** One for each weight that can have one. */
const randomAdapter = (graph: Graph, rank = 2, seed = 1): Adapter =>
  [...new Map(findLayers(graph).map((layer) => [layer.weight, layer])).values()].map(({ weight, outputs, inputs }, i) =>
    randomPair(weight, outputs, inputs, rank, seed + 2 * i),
  )

const differenceOf = async (before: Graph, after: Graph, shapes?: ReadonlyMap<string, number[]>): Promise<number> =>
  (await verify(before, after, inputShapes(before, shapes), { runs: 1, withInner: false })).outputs.relative

/** A convolution, a matrix and a Gemm, as an exporter names them. */
const NET: GraphSpec = {
  inputs: { image: [1, 3, 6, 6] },
  weights: {
    'stem.conv.weight': randomTensor([4, 3, 3, 3], 1),
    'stem.conv.bias': randomTensor([4], 2),
    'onnx::MatMul_7': randomTensor([36, 5], 3),
    'head.fc.weight': randomTensor([3, 20], 4),
    'head.fc.bias': randomTensor([3], 5),
    flat: { type: TYPE.INT64, dims: [2], data: new Uint8Array(new BigInt64Array([1n, -1n]).buffer) },
    grid: { type: TYPE.INT64, dims: [3], data: new Uint8Array(new BigInt64Array([1n, 4n, 36n]).buffer) },
  },
  nodes: [
    {
      op: 'Conv',
      name: '/stem/conv/Conv',
      inputs: ['image', 'stem.conv.weight', 'stem.conv.bias'],
      outputs: ['a'],
      attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] },
    },
    { op: 'Relu', inputs: ['a'], outputs: ['b'] },
    { op: 'Reshape', inputs: ['b', 'grid'], outputs: ['c'] },
    { op: 'MatMul', name: '/blocks/blocks.0/mix/MatMul', inputs: ['c', 'onnx::MatMul_7'], outputs: ['d'] },
    { op: 'Reshape', inputs: ['d', 'flat'], outputs: ['e'] },
    {
      op: 'Gemm',
      name: '/head/fc/Gemm',
      inputs: ['e', 'head.fc.weight', 'head.fc.bias'],
      outputs: ['logits'],
      attributes: { transB: 1 },
    },
  ],
  outputs: ['logits'],
}

const NET_LORA = (rank: number): [string, Tensor][] => [
  ['base_model.model.stem.conv.lora_A.weight', randomTensor([rank, 3, 3, 3], 11)],
  ['base_model.model.stem.conv.lora_B.weight', randomTensor([4, rank, 1, 1], 12)],
  ['base_model.model.blocks.0.mix.lora_A.weight', randomTensor([rank, 36], 13)],
  ['base_model.model.blocks.0.mix.lora_B.weight', randomTensor([5, rank], 14)],
  ['base_model.model.head.fc.lora_A.weight', randomTensor([rank, 20], 15)],
  ['base_model.model.head.fc.lora_B.weight', randomTensor([3, rank], 16)],
]

/** Even over the range; doubles of fast-check are nearly all close to zero. */
const hundredths = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max }).map((n) => n / 100)

const layerCase = fc.record({
  kind: fc.constantFrom('matmul', 'gemm', 'conv', 'conv', 'conv'),
  seed: fc.nat(1e6),
  rank: fc.integer({ min: 1, max: 5 }),
  alpha: hundredths(-200, 200),
  isInput: fc.boolean(),
  a: fc.integer({ min: 1, max: 6 }),
  b: fc.integer({ min: 1, max: 6 }),
  flags: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean()),
  group: fc.constantFrom(1, 1, 2, 3),
  kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
  strides: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  dilations: fc.tuple(fc.integer({ min: 1, max: 2 }), fc.integer({ min: 1, max: 2 })),
  pads: fc.tuple(...([0, 1, 2, 3] as const).map(() => fc.integer({ min: 0, max: 2 }))),
})

type LayerCase = typeof layerCase extends fc.Arbitrary<infer T> ? T : never

function layerSpec({ kind, seed, a, b, flags, group, kernel, strides, dilations, pads }: LayerCase): GraphSpec {
  const [first, second, third] = flags
  switch (kind) {
    case 'matmul':
      return {
        inputs: { x: first ? [2, 3, a] : [3, a] },
        weights: { w: randomTensor([a, b], seed) },
        nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
        outputs: ['y'],
      }
    case 'gemm':
      return {
        inputs: { x: first ? [a, 3] : [3, a] },
        weights: { w: randomTensor(second ? [b, a] : [a, b], seed), c: randomTensor([b], seed + 1) },
        nodes: [
          {
            op: 'Gemm',
            inputs: ['x', 'w', 'c'],
            outputs: ['y'],
            attributes: { transA: Number(first), transB: Number(second), alpha: { float: third ? 0.5 : 1 } },
          },
        ],
        outputs: ['y'],
        opset: 9,
      }
    default:
      return {
        inputs: { x: [1, a * group, 9, 8] },
        weights: { w: randomTensor([b * group, a, ...kernel], seed), c: randomTensor([b * group], seed + 1) },
        nodes: [
          {
            op: 'Conv',
            name: 'conv',
            inputs: first ? ['x', 'w', 'c'] : ['x', 'w'],
            outputs: ['y'],
            attributes: {
              group,
              strides,
              ...(second ? { kernel_shape: kernel } : {}),
              ...(third ? { auto_pad: 'SAME_UPPER' } : { pads, dilations }),
            },
          },
        ],
        outputs: ['y'],
      }
  }
}

/** The graph as it runs at one alpha. */
const bound = ({ graph, alphaInput }: { graph: Graph; alphaInput: string | undefined }, alpha: number): Graph =>
  alphaInput === undefined
    ? graph
    : {
        ...graph,
        inputs: graph.inputs.filter(({ name }) => name !== alphaInput),
        initializers: new Map([...graph.initializers, [alphaInput, floatTensor([alpha], [1])]]),
      }

describe('merged and live', () => {
  test('agree to 1e-4 on any layer, scale, stride, padding and group', async () => {
    let worst = 0
    await fc.assert(
      fc.asyncProperty(layerCase, async (given) => {
        const graph = buildGraph(layerSpec(given))
        const adapter = randomAdapter(graph, given.rank, given.seed)
        const live = bound(liveAdapter(graph, adapter, given.isInput ? 'input' : given.alpha), given.alpha)
        const difference = await differenceOf(mergeAdapter(graph, adapter, given.alpha), live)
        worst = Math.max(worst, difference)
        expect(difference).toBeLessThan(1e-4)
      }),
      { seed: SEED, numRuns: 120 },
    )
    process.stdout.write(`merged and live differ by ${worst.toExponential(1)} at most in 120 layers\n`)
  })

  test('at alpha 0 are the base: merged bit for bit, live in its outputs', async () => {
    const graph = buildGraph(NET)
    const adapter = randomAdapter(graph)
    expect(Buffer.compare(writeModel(mergeAdapter(graph, adapter, 0)), writeModel(graph))).toBe(0)
    expect(await differenceOf(graph, bound(liveAdapter(graph, adapter, 'input'), 0))).toBe(0)
  })

  test('change the outputs, keep the names and leave the graph that was given alone', async () => {
    const graph = buildGraph(NET)
    const before = writeModel(graph)
    const adapter = randomAdapter(graph)
    const live = liveAdapter(graph, adapter, 'input')
    expect(await differenceOf(graph, mergeAdapter(graph, adapter, 1))).toBeGreaterThan(0.1)
    expect(Buffer.compare(writeModel(graph), before)).toBe(0)
    expect(live.graph.inputs.map(({ name }) => name)).toEqual(['image', 'alpha'])
    expect(live.graph.outputs).toEqual(graph.outputs)
    const names = new Set(live.graph.nodes.map(({ name }) => name))
    expect(graph.nodes.every(({ name }) => names.has(name))).toBe(true)
    for (const { outputs } of graph.nodes)
      expect(live.graph.nodes.some((node) => node.outputs[0] === outputs[0])).toBe(true)
  })

  test('a weight that two layers share is updated in both; one that another operator reads has no pair', async () => {
    const shared = buildGraph({
      inputs: { x: [2, 4] },
      weights: { w: randomTensor([4, 4], 1) },
      nodes: [
        { op: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { op: 'MatMul', inputs: ['h', 'w'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    const adapter = randomAdapter(shared)
    const { mergedVersusLive } = await applyAdapter(shared, adapter, {
      mode: 'live',
      alpha: 'input',
      inputs: inputShapes(shared),
      name: 'shared',
    })
    expect(adapter).toHaveLength(1)
    expect(mergedVersusLive.relative).toBeLessThan(1e-5)
    const tied = buildGraph({
      inputs: { x: [4, 4] },
      weights: { w: randomTensor([4, 4], 1) },
      nodes: [
        { op: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
        { op: 'Add', inputs: ['h', 'w'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    expect(findLayers(tied)).toEqual([])
  })

  test('float16 weights behind a Cast stay float16 and are rounded once', async () => {
    const graph = quantiseHalf(buildGraph(NET)).graph
    const half = findLayers(graph).filter(({ weight }) => weight.endsWith('.fp16'))
    expect(half.map(({ weight }) => weight)).toEqual(['stem.conv.weight.fp16', 'onnx::MatMul_7.fp16'])
    const adapter = randomAdapter(graph)
    const { graph: merged, mergedVersusLive } = await applyAdapter(graph, adapter, {
      mode: 'merged',
      alpha: 0.1,
      inputs: inputShapes(graph),
      name: 'half',
    })
    for (const { weight } of half) expect(merged.initializers.get(weight)!.type).toBe(TYPE.FLOAT16)
    expect(mergedVersusLive.relative).toBeGreaterThan(0)
    // By way of a single, 1 + 2^-11 + 2^-30 would become a tie, and the tie 1.
    const one = { ...half[0]!, outputs: 1, inputs: 1, isTurned: false }
    const stored = storeMatrix(Float64Array.of(1 + 2 ** -11 + 2 ** -30), one, { dims: [1], type: TYPE.FLOAT16 })
    expect(floatsOf(stored, 'one')[0]).toBe(1 + 2 ** -10)
  })

  test('are refused where a sum does not fit its type, a pair does not fit, or has a twin', () => {
    const graph = buildGraph(NET)
    const pair = randomPair('head.fc.weight', 3, 20, 2, 1)
    const merged =
      (adapter: Adapter, alpha = 1) =>
      () =>
        mergeAdapter(graph, adapter, alpha)
    expect(merged([pair], 1e39)).toThrow('Cannot merge into "head.fc.weight": found sums that its type cannot hold')
    expect(merged([{ ...pair, weight: 'head.fc.bias' }])).toThrow('found no such weight of a MatMul, Gemm or Conv')
    expect(merged([{ ...pair, inputs: 19 }])).toThrow('found a pair for 3 x 19, expected 3 x 20')
    expect(merged([{ ...pair, rank: 3 }])).toThrow('expected 9 and 60 of rank 3')
    expect(merged([pair, pair], 0)).toThrow('found two pairs, expected one')
  })

  test('that differ are not written', async () => {
    const graph = buildGraph({
      ...NET,
      nodes: [...NET.nodes, { op: 'Sin', inputs: ['logits'], outputs: ['wave'] }],
      outputs: ['wave'],
    })
    const options = { mode: 'merged', inputs: inputShapes(graph), name: 'net' } as const
    await expect(applyAdapter(graph, randomAdapter(graph), { ...options, alpha: 1e6 })).rejects.toThrow(
      /merged and live differ by .* at "wave", expected at most 1e-3; nothing was written/,
    )
    await expect(applyAdapter(graph, [], { ...options, alpha: 'input' })).rejects.toThrow('only live can take it')
  })
})

describe('convertPairs()', () => {
  const convert = (tensors: [string, Tensor][], options = {}) =>
    convertPairs(buildGraph(NET), new Map(tensors), options)

  test("matches PEFT's names to weights by initializer and by node, convolutions included", () => {
    const { adapter, report } = convert(NET_LORA(2))
    expect(report.unmatched).toEqual([])
    expect(report.matched.map(({ weight }) => weight)).toEqual(['stem.conv.weight', 'onnx::MatMul_7', 'head.fc.weight'])
    expect(adapter.map(({ outputs, inputs, rank }) => [outputs, inputs, rank])).toEqual([
      [4, 27, 2],
      [5, 36, 2],
      [3, 20, 2],
    ])
  })

  test('the merged convolution is that of its weight plus what down and up say', () => {
    const graph = buildGraph(NET)
    const { adapter } = convertPairs(graph, new Map(NET_LORA(2)))
    const merged = mergeAdapter(graph, adapter, 0.5)
    const of = (from: Graph, name: string) => floatsOf(from.initializers.get(name)!, name)
    const [down, up] = [randomValues([2, 3, 3, 3], 11), randomValues([4, 2, 1, 1], 12)]
    const [before, after] = [of(graph, 'stem.conv.weight'), of(merged, 'stem.conv.weight')]
    for (let o = 0; o < 4; o++)
      for (let i = 0; i < 27; i++)
        expect(after[o * 27 + i]).toBeCloseTo(
          before[o * 27 + i]! + 0.5 * (up[o * 2]! * down[i]! + up[o * 2 + 1]! * down[27 + i]!),
          6,
        )
    const [a, b] = [randomValues([2, 36], 13), randomValues([5, 2], 14)]
    // Stored as [inputs, outputs].
    expect(of(merged, 'onnx::MatMul_7')[7 * 5 + 3]).toBeCloseTo(
      of(graph, 'onnx::MatMul_7')[7 * 5 + 3]! + 0.5 * (b[6]! * a[7]! + b[7]! * a[36 + 7]!),
      6,
    )
  })

  test("reads kohya's names and multiplies alpha over rank into up", () => {
    const { adapter, report } = convert([
      ['lora_unet_head_fc.lora_down.weight', randomTensor([4, 20], 1)],
      ['lora_unet_head_fc.lora_up.weight', randomTensor([3, 4], 2)],
      ['lora_unet_head_fc.alpha', floatTensor([2], [])],
      ['lora_unet_blocks_0_mix.lora_down.weight', randomTensor([4, 36], 3)],
      ['lora_unet_blocks_0_mix.lora_up.weight', randomTensor([5, 4], 4)],
    ])
    expect(report.matched.map(({ weight, scale }) => [weight, scale])).toEqual([
      ['head.fc.weight', 0.5],
      ['onnx::MatMul_7', 1],
    ])
    expect([...adapter[0]!.up]).toEqual([...randomValues([3, 4], 2)].map((value) => value / 2))
  })

  test('lists what matches nothing and why, and leaves it out where that is asked for', () => {
    const more: [string, Tensor][] = [
      ...NET_LORA(2).slice(0, 5),
      ['base_model.model.text.encoder.lora_A.weight', randomTensor([2, 8], 1)],
      ['base_model.model.text.encoder.lora_B.weight', randomTensor([8, 2], 1)],
      ['base_model.model.head.fc.lora_magnitude_vector', randomTensor([3], 1)],
    ]
    expect(() => convert(more)).toThrow(ModelError)
    expect(() => convert(more)).toThrow(
      /found 2 of 4 pairs that match .*"base_model.model.head.fc.lora_magnitude_vector" is no half .*"base_model.model.head.fc" has no up \(lora_B\); "base_model.model.text.encoder" matches no weight/,
    )
    const { adapter, report } = convert(more, { isPartial: true })
    expect(adapter.map(({ weight }) => weight)).toEqual(['stem.conv.weight', 'onnx::MatMul_7'])
    expect(report.unmatched).toHaveLength(3)
    expect(() => convert([['other', randomTensor([2], 1)]], { isPartial: true })).toThrow(
      'Cannot convert the adapter: found 0 of 0 pairs that match',
    )
  })

  test('refuses shapes that do not fit, two pairs for one weight and numbers that are none', () => {
    const pair = (name: string, down: Tensor, up: Tensor): [string, Tensor][] => [
      [`${name}.lora_A.weight`, down],
      [`${name}.lora_B.weight`, up],
    ]
    const good = pair('head.fc', randomTensor([2, 20], 1), randomTensor([3, 2], 2))
    expect(() => convert(pair('head.fc', randomTensor([2, 21], 1), randomTensor([3, 2], 2)))).toThrow(
      'is down [2, 21] and up [3, 2], expected [r, 20] and [3, r] of "head.fc.weight"',
    )
    expect(() => convert([...good, ...pair('model.head.fc', good[0]![1], good[1]![1])])).toThrow(
      'matches "head.fc.weight", which has a pair already',
    )
    expect(() =>
      convert(pair('head.fc', floatTensor(Array(20).fill(Number.NaN), [1, 20]), randomTensor([3, 1], 2))),
    ).toThrow('has values that are not finite')
  })

  test("PEFT's configuration gives the scale of each module", () => {
    const scaleOf = parsePeftConfig('{"lora_alpha": 8, "r": 4, "alpha_pattern": {"head.fc": 2}}', 'config')
    expect([scaleOf('stem.conv', 4), scaleOf('head.fc', 4)]).toEqual([2, 0.5])
    expect(parsePeftConfig('{"lora_alpha": 8, "use_rslora": true}', 'config')('stem.conv', 4)).toBe(4)
    expect(() => parsePeftConfig('{"lora_alpha": 8, "use_dora": true}', 'config')).toThrow('expected plain LoRA')
    expect(() => parsePeftConfig('{}', 'config')).toThrow('Cannot read "config": found no lora_alpha')
  })
})

describe('extractAdapter()', () => {
  test('finds an update of low rank again, whatever the tuned model calls its values', async () => {
    const graph = buildGraph(NET)
    const tuned = mergeAdapter(graph, randomAdapter(graph, 3), 1)
    const renamed = buildGraph({
      ...NET,
      weights: Object.fromEntries([...tuned.initializers].map(([name, tensor]) => [`their.${name}`, tensor])),
      nodes: NET.nodes.map((node) => ({
        ...node,
        name: '',
        inputs: node.inputs.map((name) => (name === 'image' ? name : `their.${name}`)),
        outputs: node.outputs.map((name) => `their.${name}`),
      })),
      outputs: ['their.logits'],
    })
    const { adapter, report } = extractAdapter(graph, renamed, { rank: 3 })
    expect(report.layers.map(({ rank }) => rank)).toEqual([3, 3, 3])
    for (const { lost } of report.layers) expect(lost).toBeLessThan(1e-5)
    expect(report.uncarried).toEqual([])
    expect(await differenceOf(tuned, mergeAdapter(graph, adapter, 1))).toBeLessThan(1e-5)
  })

  test('reports what a lower rank loses, and meets an energy with as low a rank as can', () => {
    const graph = buildGraph(NET)
    const adapter = randomAdapter(graph, 3)
    const tuned = mergeAdapter(graph, adapter, 1)
    const { adapter: low, report } = extractAdapter(graph, tuned, { rank: 1 })
    for (const [i, pair] of low.entries()) {
      const [whole, part] = [productOf(adapter[i]!), productOf(pair)]
      const length = (values: Float64Array) => Math.hypot(...values)
      expect(length(whole.map((value, at) => value - part[at]!)) / length(whole)).toBeCloseTo(report.layers[i]!.lost, 4)
    }
    for (const { lost, rank } of extractAdapter(graph, tuned, { energy: 0.8 }).report.layers) {
      expect(1 - lost ** 2).toBeGreaterThanOrEqual(0.8)
      expect(rank).toBeLessThanOrEqual(3)
    }
  })

  test('lists changes that no pair can carry', () => {
    const graph = buildGraph(NET)
    const tuned = mergeAdapter(graph, [randomPair('head.fc.weight', 3, 20, 1, 1)], 1)
    const initializers = new Map([...tuned.initializers, ['stem.conv.bias', randomTensor([4], 9)]])
    const { report } = extractAdapter(graph, { ...tuned, initializers }, { rank: 1 })
    expect(report.uncarried.map(({ name }) => name)).toEqual(['stem.conv.bias'])
    expect(report.unchanged).toBe(2)
  })

  test('refuses a model that is the same, and one of another structure with where it differs', () => {
    const graph = buildGraph(NET)
    const refused = (tuned: Graph) => () => extractAdapter(graph, tuned, { rank: 1 })
    expect(refused(graph)).toThrow('found no change in 3 weights')
    const swap = (op: string) => NET.nodes.map((node) => (node.op === 'Relu' ? { ...node, op } : node))
    expect(refused(buildGraph({ ...NET, nodes: swap('Tanh') }))).toThrow('at node Relu "b" of the base found Tanh "b"')
    expect(
      refused(buildGraph({ ...NET, weights: { ...NET.weights, 'onnx::MatMul_7': randomTensor([36, 6], 1) } })),
    ).toThrow('found "onnx::MatMul_7" [36,6], expected [36,5]')
    expect(refused(buildGraph({ ...NET, nodes: NET.nodes.slice(0, 5), outputs: ['e'] }))).toThrow('found 5 nodes')
  })
})

describe('truncateAdapter()', () => {
  const graph = buildGraph(NET)
  const adapter = randomAdapter(graph, 4)

  test('keeps the best approximation of each product at that rank', () => {
    const { adapter: low, report } = truncateAdapter(adapter, { rank: 2 })
    for (const [i, pair] of low.entries()) {
      const [whole, part] = [productOf(adapter[i]!), productOf(pair)]
      const lost = whole.reduce((sum, value, at) => sum + (value - part[at]!) ** 2, 0)
      const total = whole.reduce((sum, value) => sum + value ** 2, 0)
      expect(lost / total).toBeCloseTo(1 - report[i]!.energy, 10)
      // No worse than any two of its own components.
      for (const kept of [
        [0, 1],
        [0, 2],
        [0, 3],
        [1, 2],
        [1, 3],
        [2, 3],
      ]) {
        const { up, down, rank, inputs } = adapter[i]!
        const other = whole.map((value, at) =>
          kept.reduce((v, j) => v - up[Math.floor(at / inputs) * rank + j]! * down[j * inputs + (at % inputs)]!, value),
        )
        expect(lost).toBeLessThanOrEqual(other.reduce((sum, value) => sum + value ** 2, 0) + 1e-9)
      }
    }
  })

  test('changes nothing where nothing is taken, and nothing more the second time', () => {
    const full = randomAdapter(graph, 3)
    const whole = truncateAdapter(full, { rank: 3, share: 1 }).adapter
    expect(whole.every((pair, i) => pair === full[i])).toBe(true)
    const once = truncateAdapter(adapter, { rank: 2 }).adapter
    const twice = truncateAdapter(once, { rank: 2 }).adapter
    expect(twice.every((pair, i) => pair === once[i])).toBe(true)
  })

  test('spends a budget where the energy for each number is largest, and stays within it', () => {
    expect(
      spendBudget(
        [
          [10, 1],
          [3, 2.9],
        ],
        [10, 1],
        11,
      ),
    ).toEqual([1, 1])
    expect(
      spendBudget(
        [
          [10, 1],
          [3, 2.9],
        ],
        [10, 1],
        2,
      ),
    ).toEqual([0, 2])
    // The larger value is worth less for each of its hundred numbers.
    expect(spendBudget([[10], [5]], [100, 1], 100)).toEqual([0, 1])
    fc.assert(
      fc.property(hundredths(0, 100), (share) => {
        expect(countNumbers(truncateAdapter(adapter, { share }).adapter)).toBeLessThanOrEqual(
          share * countNumbers(adapter) + 1e-6,
        )
      }),
      { seed: SEED, numRuns: 50 },
    )
    expect(truncateAdapter(adapter, { share: 0 }).adapter).toEqual([])
  })
})

/** Two adapters in series, GELU as exporters write it out; a block without one beside it. */
function seriesSpec(neurons: readonly [number, number], seed: number): GraphSpec {
  const width = 6
  const series = (i: number, from: string, to: string, m: number) => ({
    weights: {
      [`down${i}`]: randomTensor([width, m], seed + 2 * i),
      [`up${i}`]: randomTensor([m, width], seed + 2 * i + 1),
    },
    nodes: [
      { op: 'MatMul', name: `/adapter${i}/down/MatMul`, inputs: [from, `down${i}`], outputs: [`low${i}`] },
      { op: 'Div', inputs: [`low${i}`, 'root'], outputs: [`g${i}`] },
      { op: 'Erf', inputs: [`g${i}`], outputs: [`e${i}`] },
      { op: 'Add', inputs: [`e${i}`, 'one'], outputs: [`p${i}`] },
      { op: 'Mul', inputs: [`low${i}`, `p${i}`], outputs: [`m${i}`] },
      { op: 'Mul', inputs: [`m${i}`, 'half'], outputs: [`act${i}`] },
      { op: 'MatMul', inputs: [`act${i}`, `up${i}`], outputs: [`update${i}`] },
      { op: 'Add', name: `sum${i}`, inputs: i === 0 ? [from, `update${i}`] : [`update${i}`, from], outputs: [to] },
    ],
  })
  const [first, second] = [series(0, 'h', 'k', neurons[0]), series(1, 'l', 'y', neurons[1])]
  return {
    inputs: { x: [1, 3, width] },
    weights: {
      root: floatTensor([Math.SQRT2], []),
      one: floatTensor([1], []),
      half: floatTensor([0.5], []),
      w: randomTensor([width, width], seed + 9),
      ...first.weights,
      ...second.weights,
    },
    nodes: [
      { op: 'MatMul', inputs: ['x', 'w'], outputs: ['h'] },
      ...first.nodes,
      { op: 'Relu', inputs: ['k'], outputs: ['l'] },
      ...second.nodes,
    ],
    outputs: ['y'],
  }
}

/** A graph with the neurons of an adapter at zero, unless they are kept. */
function zeroSeries(graph: Graph, kept: readonly (readonly number[])[]): Graph {
  const initializers = new Map(graph.initializers)
  for (const [i, { down, up, neurons }] of findSeries(graph).entries()) {
    const is = (neuron: number): number => (kept[i]!.includes(neuron) ? 1 : 0)
    for (const [layer, neuronOf] of [
      [down, (at: number) => Math.floor(at / down.inputs)],
      [up, (at: number) => at % neurons],
    ] as const) {
      const { dims, type } = graph.initializers.get(layer.weight)!
      const zeroed = matrixOf(graph, layer).map((value, at) => value * is(neuronOf(at)))
      initializers.set(layer.weight, storeMatrix(zeroed, layer, { dims, type }))
    }
  }
  return { ...graph, initializers }
}

describe('sliceAdapters()', () => {
  test('equals the neurons that go being zero, and those that stay are the best', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 6 }),
        fc.nat(1e6),
        hundredths(0, 100),
        async (a, b, seed, share) => {
          const graph = buildGraph(seriesSpec([a, b], seed))
          const series = findSeries(graph)
          expect(series.map(({ neurons }) => neurons)).toEqual([a, b])
          const scores = series.map(({ down, up, neurons }) =>
            scoreNeurons(matrixOf(graph, down), matrixOf(graph, up), { neurons, inputs: 6, outputs: 6 }),
          )
          const kept = keepBest(scores, { share })
          const { graph: sliced, report } = sliceAdapters(graph, [], { share })
          expect(report.map(({ after }) => after)).toEqual(kept.map(({ length }) => length))
          expect(await differenceOf(zeroSeries(graph, kept), sliced)).toBeLessThan(1e-6)
          const [staying, going] = [true, false].map((stays) =>
            scores.flatMap((own, i) => own.filter((_, j) => kept[i]!.includes(j) === stays)),
          )
          expect(Math.min(...staying!)).toBeGreaterThanOrEqual(Math.max(...going!, 0) * Number(staying!.length > 0))
        },
      ),
      { seed: SEED, numRuns: 40 },
    )
  })

  test('at share 1 changes nothing, and at the same count nothing more the second time', () => {
    const graph = buildGraph(seriesSpec([4, 5], 3))
    const adapter = randomAdapter(buildGraph(NET))
    const whole = sliceAdapters(graph, adapter, { share: 1 })
    expect(Buffer.compare(writeModel(whole.graph), writeModel(graph))).toBe(0)
    expect(whole.adapter).toEqual(adapter)
    const once = sliceAdapters(graph, [], { count: 5 }).graph
    expect(Buffer.compare(writeModel(sliceAdapters(once, [], { count: 5 }).graph), writeModel(once))).toBe(0)
  })

  test('an adapter with none left is removed, and the output keeps its name', async () => {
    const graph = buildGraph(seriesSpec([4, 5], 3))
    const { graph: sliced } = sliceAdapters(graph, [], { count: 0 })
    expect(sliced.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Relu'])
    expect(sliced.outputs.map(({ name }) => name)).toEqual(['y'])
    expect(await differenceOf(zeroSeries(graph, [[], []]), sliced)).toBeLessThan(1e-6)
  })

  test('ranks the components of low-rank pairs with the neurons of adapters in series', () => {
    const graph = buildGraph(seriesSpec([3, 3], 4))
    const scaled = (factor: number): Pair => {
      const pair = randomPair('w', 6, 6, 2, 5)
      return { ...pair, up: pair.up.map((value) => value * factor), down: pair.down.map((value) => value * factor) }
    }
    const strong = sliceAdapters(graph, [scaled(100)], { count: 2 })
    expect(strong.report.map(({ kind, after }) => [kind, after])).toEqual([
      ['pair', 2],
      ['series', 0],
      ['series', 0],
    ])
    const weak = sliceAdapters(graph, [scaled(0.001)], { count: 6 })
    expect(weak.adapter).toEqual([])
    expect(weak.graph).toBe(graph)
  })

  test('of a pair keeps the components with the largest row and column', () => {
    const pair: Pair = {
      weight: 'w',
      outputs: 2,
      inputs: 2,
      rank: 3,
      up: Float64Array.of(1, 0, 5, 1, 0, 5),
      down: Float64Array.of(1, 1, 9, 9, 0.1, 0.1),
    }
    expect(scoreNeurons(pair.down, pair.up, { ...pair, neurons: 3 })).toEqual([2, 9, 5.1])
    const [sliced] = sliceAdapters(buildGraph(NET), [pair], { count: 2 }).adapter
    expect([[...sliced!.up], [...sliced!.down]]).toEqual([
      [0, 5, 0, 5],
      [9, 9, 0.1, 0.1],
    ])
  })

  test('neurons that tie with the last one stay', () => {
    expect(
      keepBest(
        [
          [1, 2, 2],
          [2, 0],
        ],
        { count: 2 },
      ),
    ).toEqual([[1, 2], [0]])
    expect(keepBest([Array.from({ length: 100 }, (_, i) => i)], { share: 0.29 })[0]).toHaveLength(29)
  })

  test.each([
    [
      'a constant of each neuron, as a bias is',
      (spec: GraphSpec) => ({
        ...spec,
        nodes: spec.nodes.map((n) => (n.op === 'Div' ? { ...n, inputs: [n.inputs[0]!, 'b'] } : n)),
        weights: { ...spec.weights, b: randomTensor([4], 1) },
      }),
    ],
    ['a reader of what is in between', (spec: GraphSpec) => ({ ...spec, outputs: ['y', 'low0', 'low1'] })],
    [
      'an operator that mixes neurons',
      (spec: GraphSpec) => ({ ...spec, nodes: spec.nodes.map((n) => (n.op === 'Erf' ? { ...n, op: 'Softmax' } : n)) }),
    ],
  ])('with %s is no adapter in series', (_, change) => {
    expect(findSeries(buildGraph(change(seriesSpec([4, 4], 1))))).toEqual([])
  })
})

describe('an adapter that is stored', () => {
  test('comes back as float16 gave it, with the digest of its base', () => {
    const graph = buildGraph(NET)
    const adapter = randomAdapter(graph)
    const file = readSafetensors(writeSafetensors(toTensorFile(adapter, { base: 'digest', type: 'float16' })), 'pairs')
    expect(file.metadata).toEqual({ format: 'espalier.adapter/1', base: 'digest' })
    expect(convertPairs(graph, file.tensors).adapter).toEqual(roundAdapter(adapter, 'float16'))
  })

  test('is refused where float16 cannot hold it', () => {
    const pair = randomPair('w', 2, 2, 1, 1)
    const large = { ...pair, up: pair.up.map((value) => value * 1e6) }
    expect(() => roundAdapter([large], 'float16')).toThrow('Cannot store the pair of "w"')
    expect(roundAdapter([large], 'float32')[0]!.rank).toBe(1)
  })
})

describe('forge adapter', () => {
  const run = async (...words: string[]): Promise<{ report: Record<string, unknown> }> => {
    const output = vi.spyOn(process.stdout, 'write').mockReturnValue(true)
    const program = new Command()
    registerForgeAdapter(program)
    try {
      await program.parseAsync(['adapter', ...words, '--json'], { from: 'user' })
      return JSON.parse(output.mock.calls.map(([text]) => text).join(''))
    } finally {
      output.mockRestore()
    }
  }
  const at = (name: string): string => join(folder, name)

  test('takes a fine-tuned model apart, stores the pairs, and applies them again in both modes', async () => {
    const graph = buildGraph(NET)
    await writeFile(at('base.onnx'), buildModel(NET))
    await writeFile(at('tuned.onnx'), writeModel(mergeAdapter(graph, randomAdapter(graph, 2), 1)))
    const extracted = await run(
      at('base.onnx'),
      '--from',
      at('tuned.onnx'),
      '--rank',
      '2',
      '--save',
      at('pairs.safetensors'),
    )
    expect((extracted.report.mergedVersusTuned as { relative: number }).relative).toBeLessThan(1e-2)
    await run(at('base.onnx'), '--pairs', at('pairs.safetensors'), '-o', at('merged.onnx'))
    const live = await run(at('base.onnx'), '--pairs', at('pairs.safetensors'), '--mode', 'live', '-o', at('live.onnx'))
    expect(live.report).toMatchObject({ alphaInput: 'alpha', pairs: 3, mergedVersusLive: { alphas: [1, 0.5] } })
    const [merged, tuned, beside] = await Promise.all(
      ['merged', 'tuned', 'live'].map((name) => openModelFile(at(`${name}.onnx`))),
    )
    expect(await differenceOf(tuned!.graph, merged!.graph)).toBeLessThan(1e-2)
    const atOne = bound({ graph: beside!.graph, alphaInput: 'alpha' }, 1)
    expect(await differenceOf(merged!.graph, atOne)).toBeLessThan(1e-5)
    await expect(run(at('merged.onnx'), '--pairs', at('pairs.safetensors'))).rejects.toThrow(
      'were stored for the model',
    )
    await run(at('merged.onnx'), '--pairs', at('pairs.safetensors'), '--other-base', '--slice', '0.5')
  })

  test("multiplies by what PEFT's configuration beside the pairs says", async () => {
    await writeFile(at('base.onnx'), buildModel(NET))
    await writeFile(
      at('lora.safetensors'),
      writeSafetensors({ metadata: { format: 'pt' }, tensors: new Map(NET_LORA(2)) }),
    )
    const scales = async () =>
      ((await run(at('base.onnx'), '--pairs', at('lora.safetensors'))).report.matched as { scale: number }[]).map(
        ({ scale }) => scale,
      )
    expect(await scales()).toEqual([1, 1, 1])
    await writeFile(at('adapter_config.json'), '{"lora_alpha": 6, "r": 2}')
    expect(await scales()).toEqual([3, 3, 3])
  })

  test('says what is missing where a model has no adapter and none is given', async () => {
    await writeFile(at('base.onnx'), buildModel(NET))
    await writeFile(at('series.onnx'), buildModel(seriesSpec([4, 4], 1)))
    await writeFile(at('noise.safetensors'), new Uint8Array(100))
    const refused = async (reason: string | RegExp, ...words: string[]) => {
      const failure = await run(...words).catch((error: unknown) => error)
      expect(failure).toBeInstanceOf(Error)
      expect((failure as Error).message).toMatch(reason)
      return failure
    }
    expect(await refused('found neither --pairs nor --from, and no adapter in series', at('base.onnx'))).toBeInstanceOf(
      ConfigError,
    )
    await refused('found neither --pairs nor --from', at('base.onnx'), '--slice', '0.5')
    await refused('found 2 adapters in series but nothing to do with them', at('series.onnx'))
    await refused('found --save without pairs', at('series.onnx'), '--slice', '0.5', '--save', at('none.safetensors'))
    await refused(
      'found --alpha input, expected --mode live',
      at('base.onnx'),
      '--from',
      at('base.onnx'),
      '--alpha',
      'input',
    )
    await refused('Cannot read tensors "noise.safetensors"', at('base.onnx'), '--pairs', at('noise.safetensors'))
    await refused('ENOENT', at('base.onnx'), '--pairs', at('absent.safetensors'))
    expect(existsSync(at('none.safetensors'))).toBe(false)
  })

  test('slices adapters in series without any pairs', async () => {
    await writeFile(at('series.onnx'), buildModel(seriesSpec([4, 4], 1)))
    const { report } = await run(at('series.onnx'), '--slice', '0.5', '-o', at('sliced.onnx'))
    const left = (report.sliced as { after: number }[]).reduce((sum, { after }) => sum + after, 0)
    expect(left).toBe(4)
    expect(
      findSeries((await openModelFile(at('sliced.onnx'))).graph).reduce((sum, { neurons }) => sum + neurons, 0),
    ).toBe(4)
  })
})

describe('models of others', () => {
  const shapes: Record<string, Map<string, number[]>> = {
    'ch_ppocr_mobile_v2.0_cls_infer.onnx': new Map([['x', [1, 3, 48, 192]]]),
    'cifar10_resnet_4b.onnx': new Map(),
  }
  if (!existsSync(MODELS)) process.stderr.write(`SKIPPED adapters of third-party models: "${MODELS}" is absent\n`)

  for (const [file, shape] of Object.entries(shapes))
    test.skipIf(!existsSync(MODELS))(
      `${file}: the difference of a changed copy is found, merged and run beside`,
      async () => {
        const bytes = await readFile(join(MODELS, file))
        expect(bytes.length).toBeGreaterThan(0)
        const graph = hoistConstants((await openModelFile(join(MODELS, file))).graph)
        const small = randomAdapter(graph, 1, 7).map((pair) => ({
          ...pair,
          up: pair.up.map((value) => value * 0.02),
        }))
        const tuned = mergeAdapter(graph, small, 1)
        const { adapter, report } = extractAdapter(graph, tuned, { rank: 1 })
        expect(report.layers).toHaveLength(small.length)
        expect(await differenceOf(tuned, mergeAdapter(graph, adapter, 1), shape)).toBeLessThan(1e-4)
        const { mergedVersusLive } = await applyAdapter(graph, roundAdapter(adapter, 'float16'), {
          mode: 'live',
          alpha: 'input',
          inputs: inputShapes(graph, shape),
          name: file,
        })
        expect(mergedVersusLive.relative).toBeLessThan(1e-4)
        process.stdout.write(
          `${file}: ${small.length} layers, merged and live differ by ${mergedVersusLive.relative.toExponential(1)}\n`,
        )
      },
    )
})
