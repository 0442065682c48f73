import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { totalCost } from '@espalier/forge/graph/cost'
import type { Graph } from '@espalier/forge/graph/graph'
import { Insertion } from '@espalier/forge/graph/insertion'
import { inputShapes, openRunner, probeShapes, randomFeeds } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor, int64Tensor, type Tensor } from '@espalier/forge/graph/tensor'
import { openModelFile } from '@espalier/forge/model-file'
import { countAttentions } from '@espalier/forge/passes/attentions'
import { settle } from '@espalier/forge/passes/settle'
import { mergeOnce } from '@espalier/forge/passes/token-matching'
import { folderSchedule, mergeSteps, tomeSchedule } from '@espalier/forge/passes/token-schedule'
import { mergeTokens } from '@espalier/forge/passes/tokens'
import { describe, expect, test } from 'vitest'
import { buildGraph, type GraphSpec, randomTensor } from './build-graph.ts'
import { PATCHES, tinyVit, type VitOptions } from './tiny-vit.ts'
import { type Merged, matchOnce, type Rows, runVit } from './tome-reference.ts'

const probe = (graph: Graph) => probeShapes(graph, 'test')

async function answerOf(graph: Graph, seed = 1): Promise<{ image: Float32Array; logits: number[] }> {
  const feeds = randomFeeds(inputShapes(graph), seed)
  const runner = await openRunner(graph, 'test')
  const found = await runner.run(feeds)
  await runner.close()
  return {
    image: feeds.image!.data as Float32Array,
    logits: [...(found[graph.outputs[0]!.name]!.data as Float32Array)],
  }
}

const largestDifference = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i]!))) / Math.max(...b.map(Math.abs))

describe('schedules', () => {
  test('ToMe takes as many everywhere, FOLDER all at the end, 1 to 10', () => {
    expect(tomeSchedule(3, 5)).toEqual([5, 5, 5])
    expect(folderSchedule(12, 110)).toEqual([...Array<number>(9).fill(0), 10, 0, 100])
    expect(folderSchedule(6, 60)).toEqual([0, 0, 0, 5, 0, 55])
  })

  test('FOLDER loses none where there are fewer blocks than shares', () => {
    for (const blocks of [1, 2, 3, 4]) expect(folderSchedule(blocks, 23).reduce((a, b) => a + b, 0)).toBe(23)
    expect(folderSchedule(1, 23)).toEqual([23])
  })

  test('FOLDER halves until the rest fits: 10 less 7 goes 4, 2, 1', () => {
    expect(mergeSteps(10, 7)).toEqual([4, 2, 1])
    expect(mergeSteps(10, 100).reduce((left, step) => left - step, 10)).toBe(2)
    expect(mergeSteps(10, 0)).toEqual([])
  })

  test('ToMe takes at most half of the tokens that may merge, once', () => {
    const stay = (tokens: number, wanted: number, kept: number) =>
      mergeSteps(tokens, wanted, { overflow: 'stay', kept })
    expect(stay(10, 7, 1)).toEqual([4])
    expect(stay(10, 7, 0)).toEqual([5])
    expect(stay(17, 3, 1)).toEqual([3])
    expect(stay(17, 0, 1)).toEqual([])
    expect(stay(1, 5, 1)).toEqual([])
  })
})

/** One merging on the runtime. */
async function mergeOnRuntime(before: Merged, count: number, hasClassToken: boolean, opset = 17): Promise<Merged> {
  const [tokens, width, keys] = [before.x.length, before.x[0]!.length, before.metric[0]!.length]
  const base = buildGraph({
    inputs: { x: [1, tokens, width], size: [1, tokens, 1], metric: [1, tokens, keys] },
    nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
    outputs: ['y'],
    opset,
  })
  const made = new Insertion('made', opset)
  const names = mergeOnce(
    made,
    { x: { values: 'x', width }, size: 'size', metric: { values: 'metric', width: keys } },
    { tokens, count, hasClassToken },
  )
  const outputs = [names.x.values, names.size, names.metric.values]
  const runner = await openRunner({ ...base, nodes: made.nodes, initializers: made.initializers }, 'merge', { outputs })
  const feed = (rows: Rows) => ({
    type: 'float32',
    dims: [1, rows.length, rows[0]!.length],
    data: Float32Array.from(rows.flat()),
  })
  const found = await runner.run({
    x: feed(before.x),
    size: feed(before.size.map((value) => [value])),
    metric: feed(before.metric),
  })
  await runner.close()
  const rowsOf = (name: string): Rows => {
    const { data, dims } = found[name]!
    return Array.from({ length: dims[1]! }, (_, i) => [
      ...(data as Float32Array).subarray(i * dims[2]!, (i + 1) * dims[2]!),
    ])
  }
  return {
    x: rowsOf(names.x.values),
    size: rowsOf(names.size).map(([value]) => value!),
    metric: rowsOf(names.metric.values),
  }
}

function randomTokens(tokens: number, seed: number): Merged {
  const rows = (width: number, shift: number): Rows => {
    const values = floatsOf(randomTensor([tokens, width], seed + shift), 'rows')
    return Array.from({ length: tokens }, (_, i) => [...values.subarray(i * width, (i + 1) * width)])
  }
  return { x: rows(6, 0), size: rows(1, 50).map(([value]) => Math.ceil(3 * Math.abs(value!))), metric: rows(4, 100) }
}

describe('mergeOnce()', () => {
  for (const opset of [16, 18])
    test(`does what the reference does, at opset ${opset}`, async () => {
      for (let seed = 1; seed <= 12; seed++) {
        const tokens = 4 + seed
        const hasClassToken = seed % 3 !== 0
        const most = hasClassToken ? Math.floor((tokens - 1) / 2) : Math.floor(tokens / 2)
        const count = 1 + (seed % most)
        const before = randomTokens(tokens, seed)
        const [made, wanted] = [
          await mergeOnRuntime(before, count, hasClassToken, opset),
          matchOnce(before, count, hasClassToken),
        ]
        expect(made.size, `seed ${seed}`).toEqual(wanted.size)
        expect(largestDifference(made.x.flat(), wanted.x.flat()), `seed ${seed}`).toBeLessThan(1e-5)
        expect(largestDifference(made.metric.flat(), wanted.metric.flat()), `seed ${seed}`).toBeLessThan(1e-5)
      }
    })

  test('leaves T - r tokens, and keeps the sum of sizes and of values times sizes', async () => {
    for (const [tokens, count] of [
      [10, 4],
      [11, 5],
      [17, 8],
      [16, 1],
    ] as const) {
      const before = randomTokens(tokens, tokens)
      const after = await mergeOnRuntime(before, count, true)
      expect(after.x.length).toBe(tokens - count)
      const total = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
      expect(total(after.size)).toBe(total(before.size))
      const weighted = ({ x, size }: Merged, c: number): number => total(x.map((row, i) => row[c]! * size[i]!))
      for (let c = 0; c < 6; c++) expect(weighted(after, c)).toBeCloseTo(weighted(before, c), 4)
    }
  })

  test('keeps the class token first and to itself, even if it is like another', async () => {
    const before = randomTokens(9, 3)
    before.metric[1] = [...before.metric[0]!]
    const after = await mergeOnRuntime(before, 4, true)
    expect(after.size[0]).toBe(before.size[0])
    for (const [c, value] of after.x[0]!.entries()) expect(value).toBeCloseTo(before.x[0]![c]!, 5)
    const without = await mergeOnRuntime(before, 1, false)
    expect(without.x[0]![0]).not.toBeCloseTo(before.x[0]![0]!, 3)
  })

  test('takes the one that comes first of tokens that are equally alike, and the first partner', async () => {
    const same: Merged = {
      x: Array.from({ length: 8 }, (_, i) => [i]),
      size: Array<number>(8).fill(1),
      metric: Array.from({ length: 8 }, () => [1, 2]),
    }
    // Even ones are 0, 2, 4, 6; the class token 0 stays, so 2 and 4 go, into 1.
    expect((await mergeOnRuntime(same, 2, true)).x.flat()).toEqual([0, 6, (1 + 2 + 4) / 3, 3, 5, 7].map(Math.fround))
    expect((await mergeOnRuntime(same, 4, false)).x.flat()).toEqual([(0 + 1 + 2 + 4 + 6) / 5, 3, 5, 7].map(Math.fround))
  })

  test('survives a metric of zeros', async () => {
    const before = { ...randomTokens(7, 2), metric: Array.from({ length: 7 }, () => [0, 0]) }
    expect((await mergeOnRuntime(before, 2, true)).x.flat().every(Number.isFinite)).toBe(true)
  })
})

describe('mergeTokens()', () => {
  const cases: (VitOptions & { schedule: number[]; isProportional?: boolean; overflow?: 'stay' | 'repeat' })[] = [
    { schedule: [3, 3, 3] },
    { schedule: [3, 3, 3], isProportional: false },
    { schedule: [0, 1, 12] },
    { schedule: [12, 0, 0], isFused: true },
    { schedule: [4, 4, 4], opset: 16 },
    { schedule: [4, 4, 4], opset: 16, isFused: true, head: 'mean' },
    { schedule: [3, 0, 9], head: 'mean' },
    { schedule: [3, 0, 9], head: 'patches' },
    { schedule: [5, 4, 2], head: 'mean', hasClassToken: false },
    { schedule: [8, 8, 8], head: 'mean', hasClassToken: false, overflow: 'stay' },
  ]
  for (const { schedule, overflow = 'repeat', isProportional = true, ...options } of cases)
    test(`answers as the reference does: ${JSON.stringify({ schedule, overflow, isProportional, ...options })}`, async () => {
      const { hasClassToken = true } = options
      const spec = tinyVit(options)
      const graph = buildGraph(spec)
      const shapes = await probe(graph)
      const done = mergeTokens(graph, shapes, { schedule, overflow, hasClassToken, isProportional })
      for (const seed of [1, 2, 3]) {
        const { image, logits } = await answerOf(done.graph, seed)
        const wanted = runVit(spec.weights, image, done.report.steps, { ...options, isProportional })
        expect(largestDifference(logits, wanted.logits)).toBeLessThan(1e-4)
        const all = PATCHES + (hasClassToken ? 1 : 0)
        for (const [block, sizes] of wanted.sizes.entries()) {
          expect(sizes.length).toBe(done.report.tokens[block])
          expect(sizes.reduce((a, b) => a + b, 0)).toBe(all)
        }
      }
      expect(totalCost(done.graph, await probe(done.graph)).macs).toBeLessThan(totalCost(graph, shapes).macs)
    })

  test('answers as the model itself where nothing is to merge, and hands back the same graph', async () => {
    const spec = tinyVit()
    const graph = buildGraph(spec)
    const done = mergeTokens(graph, await probe(graph), { schedule: [0, 0, 0] })
    expect(done.graph).toBe(graph)
    expect(done.report).toEqual({ tokens: [17, 17, 17], steps: [[], [], []] })
    const { image, logits } = await answerOf(graph)
    expect(largestDifference(logits, runVit(spec.weights, image, [[], [], []], {}).logits)).toBeLessThan(1e-5)
  })

  test('tells the steps of each block', async () => {
    const graph = buildGraph(tinyVit())
    const { report } = mergeTokens(graph, await probe(graph), { schedule: [0, 2, 13] })
    expect(report).toEqual({ tokens: [17, 15, 2], steps: [[], [2], [7, 3, 2, 1]] })
  })

  test('keeps names, metadata, and the shape of the answer', async () => {
    const graph = buildGraph(tinyVit())
    const done = mergeTokens(graph, await probe(graph), { schedule: [2, 2, 2] }).graph
    const own = new Set(done.nodes.map(({ name }) => name))
    for (const { name } of graph.nodes) expect(own.has(name)).toBe(true)
    expect(done.model).toBe(graph.model)
    expect((await probe(done)).get('logits')).toEqual((await probe(graph)).get('logits'))
  })

  test('works at a batch of more than one', async () => {
    const spec = tinyVit()
    const batched = (tensor: Tensor): Tensor =>
      int64Tensor([-1, ...[...new BigInt64Array(new Uint8Array(tensor.data).buffer)].map(Number).slice(1)])
    const weights = Object.fromEntries(
      Object.entries(spec.weights).map(([name, tensor]) => [
        name,
        /shape|joined/.test(name) && tensor.dims[0]! > 2 ? batched(tensor) : tensor,
      ]),
    )
    weights['flat.shape'] = int64Tensor([2, 12, 16])
    weights.class = floatTensor(
      [...floatsOf(spec.weights.class!, 'c'), ...floatsOf(spec.weights.class!, 'c')],
      [2, 1, 12],
    )
    const graph = buildGraph({ ...spec, weights, inputs: { image: [2, 3, 8, 8] } })
    const done = mergeTokens(graph, await probe(graph), { schedule: [3, 3, 3] })
    const { image, logits } = await answerOf(done.graph)
    for (const i of [0, 1]) {
      const wanted = runVit(spec.weights, image.subarray(i * 192, (i + 1) * 192), done.report.steps, {})
      expect(largestDifference(logits.slice(i * 5, (i + 1) * 5), wanted.logits)).toBeLessThan(1e-4)
    }
  })
})

describe('mergeTokens() refuses', () => {
  const refusal = async (spec: GraphSpec, schedule = [2, 2, 2]): Promise<() => unknown> => {
    const graph = buildGraph(spec)
    const shapes = await probe(graph)
    return () => mergeTokens(graph, shapes, { schedule })
  }
  /** The same transformer with other nodes at one place. */
  const edited = (edit: (nodes: GraphSpec['nodes']) => GraphSpec['nodes'], weights: Record<string, Tensor> = {}) => {
    const spec = tinyVit()
    return { ...spec, nodes: edit(spec.nodes), weights: { ...spec.weights, ...weights } }
  }
  const ahead = (name: string, extra: GraphSpec['nodes'][number], input: string) => (nodes: GraphSpec['nodes']) =>
    nodes.flatMap((node) =>
      node.name === name
        ? [extra, { ...node, inputs: node.inputs.map((each) => (each === input ? extra.outputs[0]! : each)) }]
        : [node],
    )

  test('a model of opset 15', async () => {
    expect(await refusal(tinyVit({ opset: 15 }))).toThrow(/found opset 15, expected 16 or newer, where ScatterElements/)
  })

  test('a model without attention, and a schedule for another number of them', async () => {
    const plain = {
      inputs: { x: [1, 2, 2, 2] },
      nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    }
    expect(await refusal(plain)).toThrow(/no attention over all tokens; found no Softmax/)
    expect(await refusal(tinyVit(), [1])).toThrow('found 3 attentions, expected 1')
  })

  test('a model that was treated before', async () => {
    const graph = buildGraph(tinyVit())
    const once = mergeTokens(graph, await probe(graph), { schedule: [1, 1, 1] }).graph
    const shapes = await probe(once)
    expect(() => mergeTokens(once, shapes, { schedule: [1, 1, 1] })).toThrow(/merged already; start from the original/)
  })

  test('attention in windows, as Swin has it', async () => {
    const shape = (dims: readonly number[]) => int64Tensor(dims)
    expect(
      await refusal({
        inputs: { x: [1, 16, 8] },
        weights: { windows: shape([4, 1, 4, 8]), back: shape([1, 16, 8]) },
        nodes: [
          { op: 'Reshape', inputs: ['x', 'windows'], outputs: ['w'] },
          { op: 'Transpose', inputs: ['w'], outputs: ['k'], attributes: { perm: [0, 1, 3, 2] } },
          { op: 'MatMul', inputs: ['w', 'k'], outputs: ['s'] },
          { op: 'Softmax', name: 'windowed', inputs: ['s'], outputs: ['p'], attributes: { axis: -1 } },
          { op: 'MatMul', inputs: ['p', 'w'], outputs: ['m'] },
          { op: 'Reshape', inputs: ['m', 'back'], outputs: ['f'] },
          { op: 'Add', inputs: ['x', 'f'], outputs: ['y'] },
        ],
        outputs: ['y'],
      }),
    ).toThrow('Softmax "windowed": found 4 windows of 4 tokens, expected one of all tokens')
  })

  test('relative positions, which are a constant for each pair of tokens', async () => {
    const extra = { op: 'Add', name: 'relative', inputs: ['block0.scaled', 'bias'], outputs: ['relative'] }
    const one = edited(ahead('block0.shares', extra, 'block0.scaled'), { bias: randomTensor([1, 2, 17, 17], 1) })
    // The other two attentions still are there: their tokens may merge, after this one's.
    expect(await refusal(one)).toThrow('found 2 attentions, expected 3')
    const all = tinyVit({ blocks: 1 })
    const nodes = ahead('block0.shares', extra, 'block0.scaled')(all.nodes)
    expect(await refusal({ ...all, nodes, weights: { ...all.weights, bias: randomTensor([17, 17], 1) } })).toThrow(
      /Add "relative" adds a constant of its own for each of 17 tokens/,
    )
  })

  test('positions that are added again later', async () => {
    const extra = { op: 'Add', name: 'again', inputs: ['block1.end', 'positions'], outputs: ['again'] }
    expect(await refusal(edited(ahead('block2.norm1', extra, 'block1.end')))).toThrow(
      'Add "again" puts tokens together with "positions", which has a value for each of all tokens',
    )
  })

  test('a skip from before the first merging', async () => {
    const extra = { op: 'Add', name: 'skip', inputs: ['block1.end', 'embedded'], outputs: ['skip'] }
    expect(await refusal(edited(ahead('block2.norm1', extra, 'block1.end')))).toThrow(
      /Add "skip" puts tokens together with "embedded"/,
    )
  })

  test('a grid of tokens', async () => {
    const spec = tinyVit({ hasClassToken: false, head: 'mean' })
    const extra = { op: 'Reshape', name: 'grid', inputs: ['norm', 'grid.shape'], outputs: ['grid'] }
    const nodes = ahead(
      'pooled',
      extra,
      'norm',
    )(spec.nodes).map((node) =>
      node.name === 'pooled' ? { ...node, attributes: { axes: [1, 2], keepdims: 0 } } : node,
    )
    const graph = buildGraph({ ...spec, nodes, weights: { ...spec.weights, 'grid.shape': int64Tensor([1, 4, 4, 12]) } })
    const shapes = await probe(graph)
    expect(() => mergeTokens(graph, shapes, { schedule: [1, 1, 1], hasClassToken: false })).toThrow(
      /Reshape "grid" shapes 1 x 16 x 12 to 1 x 4 x 4 x 12; expected the 16 tokens on an axis of their own/,
    )
  })

  test('a head that picks another token, or has none to pick', async () => {
    const spec = edited((nodes) => nodes, { first: int64Tensor([1], []) })
    expect(await refusal(spec)).toThrow('Gather "pooled" picks tokens by number; expected the class token')
    const graph = buildGraph(tinyVit())
    const shapes = await probe(graph)
    expect(() => mergeTokens(graph, shapes, { schedule: [1, 1, 1], hasClassToken: false })).toThrow(/expected none/)
  })

  test('an answer that has a row for each token', async () => {
    expect(await refusal({ ...tinyVit(), outputs: ['norm'] })).toThrow(/output "norm" has a row for each token/)
  })
})

const MODELS = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
const isThere = existsSync(MODELS)
if (!isThere) process.stderr.write(`SKIPPED third-party models: "${MODELS}" is absent\n`)

test.skipIf(!isThere)('models that others made have no attention, and say so', async () => {
  for (const file of ['cifar10_resnet_4b.onnx', 'ch_ppocr_mobile_v2.0_cls_infer.onnx']) {
    const { graph: original } = await openModelFile(join(MODELS, file))
    const given = new Map([['x', [1, 3, 48, 192]]])
    const graph = await settle(original, file, inputShapes(original, given))
    const shapes = await probeShapes(graph, file, given)
    expect(countAttentions(graph, shapes)).toBe(0)
    expect(() => mergeTokens(graph, shapes, { schedule: [] })).toThrow(/no attention over all tokens/)
  }
})
