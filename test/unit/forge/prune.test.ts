import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Channels } from '@espalier/forge/graph/channels'
import { hoistConstants } from '@espalier/forge/graph/constants'
import { totalCost } from '@espalier/forge/graph/cost'
import type { Graph } from '@espalier/forge/graph/graph'
import { removeChannels } from '@espalier/forge/graph/remove-channels'
import { reshapedAxis } from '@espalier/forge/graph/reshaped-axis'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor } from '@espalier/forge/graph/tensor'
import { openModelFile } from '@espalier/forge/model-file'
import { PRUNE_SCORES, prune } from '@espalier/forge/passes/prune'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, randomTensor } from './build-graph.ts'
import { randomFrom, randomNet } from './random-net.ts'

const probe = (graph: Graph) => probeShapes(graph, 'test')
const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { runs: 1, withInner: false })).outputs.relative

/** Some of the classes that can go, never all of what one layer makes. */
function choose(channels: Channels, below: (n: number) => number): Set<number> {
  const left = new Map<string, number>()
  const makersOf = (id: number): string[] =>
    channels
      .classOf(id)
      .rows.filter(({ role }) => role === 'makes')
      .map(({ tensor }) => tensor)
  for (const id of channels.ids) for (const maker of makersOf(id)) left.set(maker, (left.get(maker) ?? 0) + 1)
  const gone = new Set<number>()
  for (const id of channels.ids) {
    const makers = makersOf(id)
    const last = makers.some((maker) => left.get(maker)! - makers.filter((each) => each === maker).length < 1)
    if (channels.classOf(id).locked !== undefined || last || below(5) < 2) continue
    gone.add(id)
    for (const maker of makers) left.set(maker, left.get(maker)! - 1)
  }
  return gone
}

/** The same graph with zero in every row that makes or follows one of the channels; readers keep theirs. */
function withZeros(graph: Graph, channels: Channels, gone: ReadonlySet<number>): Graph {
  const initializers = new Map(graph.initializers)
  for (const id of gone)
    for (const { tensor: name, axis, index, role } of channels.classOf(id).rows) {
      if (role === 'reads') continue
      const { dims } = initializers.get(name)!
      const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1)
      const values = floatsOf(initializers.get(name)!, name).map((value, i) =>
        Math.floor(i / inner) % dims[axis]! === index ? 0 : value,
      )
      initializers.set(name, floatTensor(values, dims))
    }
  return { ...graph, initializers }
}

describe('removing channels', () => {
  test('equals setting their weights to zero, in random nets of every kind of block', async () => {
    const seen = new Set<string>()
    let removed = 0
    for (let seed = 1; seed <= 60; seed++) {
      const { spec, blocks } = randomNet(seed)
      const graph = buildGraph(spec)
      const channels = new Channels(graph, await probe(graph))
      const gone = choose(channels, randomFrom(seed).below)
      removed += gone.size
      if (gone.size > 0) for (const block of blocks) seen.add(block)
      const difference = await differenceOf(withZeros(graph, channels, gone), removeChannels(graph, channels, gone))
      expect(difference, `seed ${seed}: ${blocks}`).toBeLessThan(1e-4)
    }
    expect(removed).toBeGreaterThan(500)
    expect([...seen].sort()).toEqual(
      [
        ...'average concat conv convolution depthwise excite flatten grouped mean multiplied pool reshape residual turned wider'.split(
          ' ',
        ),
      ].sort(),
    )
  })
})

const conv = (name: string, from: string, attributes: Record<string, number | readonly number[]> = {}) => ({
  op: 'Conv',
  name,
  inputs: [from, `${name}.w`],
  outputs: [name],
  attributes: { kernel_shape: [1, 1], ...attributes },
})
const relu = (from: string, to: string) => ({ op: 'Relu', inputs: [from], outputs: [to] })

/** a -> relu -> b, where channel i of a has weights of `sizes[i]`. */
function pair(sizes: readonly number[]): Graph {
  return buildGraph({
    inputs: { x: [1, 2, 4, 4] },
    weights: {
      'a.w': floatTensor(
        sizes.flatMap((size) => [size, -size]),
        [sizes.length, 2, 1, 1],
      ),
      'b.w': randomTensor([3, sizes.length, 1, 1], 1),
    },
    nodes: [conv('a', 'x'), relu('a', 'h'), conv('b', 'h')],
    outputs: ['b'],
  })
}

/** The first weight of each channel that is left in `a`. */
const leftIn = (graph: Graph): number[] =>
  [...floatsOf(graph.initializers.get('a.w')!, 'a.w')].filter((_, i) => i % 2 === 0)

describe('prune()', () => {
  test('takes the weakest by L1 and L2, and tells what it took', async () => {
    const graph = pair([4, 1, 3, 2])
    for (const score of ['l1', 'l2'] as const) {
      const done = prune(graph, await probe(graph), { ratio: 0.5, score })
      expect(leftIn(done.graph)).toEqual([4, 3])
      expect(done.report.layers).toEqual([{ makers: ['a'], before: 4, after: 2 }])
      expect(done.report.locked).toEqual([{ maker: 'b', channels: 3, reason: 'an output of the model' }])
    }
  })

  test('tells L1 from L2 where they differ', async () => {
    const graph = pair([1, 1])
    const weights = floatTensor([3, 0, 2, 2], [2, 2, 1, 1])
    const other = { ...graph, initializers: new Map([...graph.initializers, ['a.w', weights]]) }
    const left = async (score: 'l1' | 'l2') => leftIn(prune(other, await probe(other), { ratio: 0.5, score }).graph)
    expect(await left('l1')).toEqual([2])
    expect(await left('l2')).toEqual([3])
  })

  test('takes the smallest |gamma|, and locks what no BatchNormalization follows', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 2, 4, 4] },
      weights: {
        'a.w': floatTensor([9, 9, 1, 1, 5, 5], [3, 2, 1, 1]),
        'b.w': randomTensor([4, 3, 1, 1], 2),
        'c.w': randomTensor([2, 4, 1, 1], 3),
        gamma: floatTensor([-0.1, 3, -2], [3]),
        beta: randomTensor([3], 4),
        mean: randomTensor([3], 5),
        variance: floatTensor([1, 1, 1], [3]),
      },
      nodes: [
        conv('a', 'x'),
        { op: 'BatchNormalization', inputs: ['a', 'gamma', 'beta', 'mean', 'variance'], outputs: ['n'] },
        relu('n', 'h'),
        conv('b', 'h'),
        relu('b', 'g'),
        conv('c', 'g'),
      ],
      outputs: ['c'],
    })
    const done = prune(graph, await probe(graph), { ratio: 0.34, score: 'bn' })
    expect([...floatsOf(done.graph.initializers.get('gamma')!, 'gamma')]).toEqual([3, -2])
    expect(leftIn(done.graph)).toEqual([1, 5])
    expect(done.report.locked).toContainEqual({ maker: 'b', channels: 4, reason: 'no BatchNormalization follows it' })
  })

  test('takes the smallest sum of |weight times gradient|, and names a weight without one', async () => {
    const graph = pair([4, 1, 3, 2])
    const shapes = await probe(graph)
    const gradients = new Map([['a.w', [0.1, 0.1, -9, 9, 0.2, -0.2, 8, 8]]])
    expect(leftIn(prune(graph, shapes, { ratio: 0.5, score: 'taylor', gradients }).graph)).toEqual([1, 2])
    expect(() => prune(graph, shapes, { ratio: 0.5, score: 'taylor' })).toThrow(
      'Cannot score "a.w" of Conv "a": found no gradients, expected 8',
    )
    const short = new Map([['a.w', [1]]])
    expect(() => prune(graph, shapes, { ratio: 0.5, score: 'taylor', gradients: short })).toThrow(/found 1 gradients/)
  })

  test('keeps multiples, and at least one of them, whatever the ratio', async () => {
    const graph = pair([8, 7, 6, 5, 4, 3, 2, 1])
    const kept = async (ratio: number, multiple: number, isGlobal = false) =>
      prune(graph, await probe(graph), { ratio, multiple, isGlobal }).report.layers[0]!.after
    expect(await kept(0.3, 4)).toBe(8)
    expect(await kept(0.6, 4)).toBe(4)
    expect(await kept(0.99, 4)).toBe(4)
    expect(await kept(0.99, 1)).toBe(1)
    expect(await kept(0.99, 16)).toBe(8)
    expect(await kept(0.99, 1, true)).toBe(1)
  })

  test('changes nothing at ratio 0, with every score', async () => {
    const graph = pair([2, 1])
    const gradients = new Map([['a.w', [1, 1, 1, 1]]])
    for (const score of PRUNE_SCORES.filter((each) => each !== 'bn'))
      for (const isGlobal of [true, false])
        expect(prune(graph, await probe(graph), { ratio: 0, score, isGlobal, gradients }).graph).toEqual(graph)
  })

  test('ranks layers together by their own means when it is global', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 2, 4, 4] },
      weights: {
        'a.w': floatTensor([100, 0, 100, 0, 100, 0, 100, 0], [4, 2, 1, 1]),
        'b.w': floatTensor([...Array<number>(12).fill(0.01), ...Array<number>(4).fill(0.0001)], [4, 4, 1, 1]),
        'c.w': randomTensor([2, 4, 1, 1], 3),
      },
      nodes: [conv('a', 'x'), relu('a', 'h'), conv('b', 'h'), relu('b', 'g'), conv('c', 'g')],
      outputs: ['c'],
    })
    const { layers } = prune(graph, await probe(graph), { ratio: 0.125, isGlobal: true }).report
    expect(layers.map(({ after }) => after)).toEqual([4, 3])
  })

  test('leaves a weight alone that two nodes read, and one that an unknown operator reads', async () => {
    const base = { inputs: { x: [1, 2, 4, 4] }, outputs: ['y'] }
    const weights = { 'a.w': randomTensor([2, 2, 1, 1], 1), 'b.w': randomTensor([2, 2, 1, 1], 2) }
    const twice = buildGraph({
      ...base,
      weights,
      nodes: [
        conv('a', 'x'),
        { ...conv('b', 'a'), inputs: ['a', 'a.w'] },
        { ...conv('c', 'b'), inputs: ['b', 'b.w'], outputs: ['y'] },
      ],
    })
    expect(() => prune(twice, new Map(), { ratio: 0.5 })).toThrow(/no channel can go/)
    const read = buildGraph({
      ...base,
      weights,
      nodes: [
        conv('a', 'x'),
        conv('b', 'a'),
        { op: 'ReduceSum', inputs: ['a.w'], outputs: ['s'] },
        { op: 'Mul', inputs: ['b', 's'], outputs: ['y'] },
      ],
    })
    const shapes = await probe(read)
    expect(() => prune(read, shapes, { ratio: 0.5 })).toThrow('"a": "a.w" has two readers')
  })

  test('says of each layer which node holds it', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 4, 4, 4] },
      weights: {
        'a.w': randomTensor([4, 4, 1, 1], 1),
        'b.w': randomTensor([4, 4, 1, 1], 2),
        'c.w': randomTensor([4, 4, 1, 1], 3),
      },
      nodes: [
        conv('a', 'x'),
        { op: 'Softmax', name: 'mixing', inputs: ['a'], outputs: ['p'], attributes: { axis: 1 } },
        conv('b', 'p'),
        { op: 'Add', inputs: ['b', 'x'], outputs: ['s'] },
        conv('c', 's'),
      ],
      outputs: ['c'],
    })
    expect(() => prune(graph, new Map(), { ratio: 2 })).toThrow(RangeError)
    const shapes = await probe(graph)
    expect(() => prune(graph, shapes, { ratio: 0.5 })).toThrow(
      'Cannot prune model: no channel can go; "a": read by Softmax "mixing"; "b": an input of the model; "c": an output of the model',
    )
  })

  test('keeps names, metadata and the shapes of inputs and outputs', async () => {
    const graph = buildGraph(randomNet(4).spec)
    const done = prune(graph, await probe(graph), { ratio: 0.4 })
    expect(done.graph.nodes.map(({ name }) => name)).toEqual(graph.nodes.map(({ name }) => name))
    expect(done.graph.model).toBe(graph.model)
    const [before, after] = [await probe(graph), await probe(done.graph)]
    for (const { name } of [...graph.inputs, ...graph.outputs]) expect(after.get(name)).toEqual(before.get(name))
    expect(totalCost(done.graph, after).macs).toBeLessThan(0.8 * totalCost(graph, before).macs)
  })

  test('reaches the hidden layer of a transformer, and nothing that attention mixes', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 5, 6] },
      weights: {
        'up.w': randomTensor([6, 12], 1),
        'up.b': randomTensor([12], 2),
        'down.w': randomTensor([12, 6], 3),
        scale: randomTensor([6], 4),
        bias: randomTensor([6], 5),
      },
      nodes: [
        { op: 'LayerNormalization', inputs: ['x', 'scale', 'bias'], outputs: ['n'] },
        { op: 'MatMul', name: 'up', inputs: ['n', 'up.w'], outputs: ['u'] },
        { op: 'Add', inputs: ['up.b', 'u'], outputs: ['v'] },
        { op: 'Relu', inputs: ['v'], outputs: ['h'] },
        { op: 'MatMul', name: 'down', inputs: ['h', 'down.w'], outputs: ['d'] },
        { op: 'Add', inputs: ['x', 'd'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    const { report } = prune(graph, await probe(graph), { ratio: 0.5 })
    expect(report.layers).toEqual([{ makers: ['up'], before: 12, after: 6 }])
    expect(report.locked).toEqual([{ maker: 'down', channels: 6, reason: 'an input of the model' }])
  })
})

describe('reshapedAxis()', () => {
  test('finds an axis again, alone or at the front of one that it shares', () => {
    expect(reshapedAxis([1, 8, 4, 4], [1, 128], 1)).toEqual({ axis: 1, each: 16 })
    expect(reshapedAxis([1, 8, 1, 1], [1, 8], 1)).toEqual({ axis: 1, each: 1 })
    expect(reshapedAxis([1, 8], [1, 8, 1, 1], 1)).toEqual({ axis: 1, each: 1 })
    expect(reshapedAxis([2, 8, 4, 4], [2, 8, 16], 1)).toEqual({ axis: 1, each: 1 })
    expect(reshapedAxis([1, 8, 6], [1, 16, 3], 1)).toEqual({ axis: 1, each: 2 })
  })

  test('gives up where places of two channels mix', () => {
    expect(reshapedAxis([1, 8, 4, 4], [1, 4, 32], 1)).toBeUndefined()
    expect(reshapedAxis([1, 8, 3], [1, 12, 2], 1)).toBeUndefined()
    expect(reshapedAxis([1, 8, 6], [6, 8], 1)).toBeUndefined()
    expect(reshapedAxis([2, 8, 3], [16, 3], 1)).toBeUndefined()
  })
})

const MODELS = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
const isThere = existsSync(MODELS)
if (!isThere) process.stderr.write(`SKIPPED third-party models: "${MODELS}" is absent\n`)

describe.skipIf(!isThere)('prune() of models that others made', () => {
  const SHAPES = new Map([['x', [1, 3, 48, 192]]])
  const files = [
    ['cifar10_resnet_4b.onnx', 'l2'],
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', 'l1'],
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', 'bn'],
  ] as const
  const open = async (file: string) => {
    const graph = hoistConstants((await openModelFile(join(MODELS, file))).graph)
    return { graph, shapes: await probeShapes(graph, file, SHAPES) }
  }
  for (const [file, score] of files)
    test(`makes ${file} smaller by ${score}`, async () => {
      const { graph, shapes } = await open(file)
      const done = prune(graph, shapes, { ratio: 0.3, score })
      const left = await probeShapes(done.graph, file, SHAPES)
      expect(totalCost(done.graph, left).macs).toBeLessThan(0.75 * totalCost(graph, shapes).macs)
      for (const { name } of graph.outputs) expect(left.get(name)).toEqual(shapes.get(name))
    })

  for (const file of new Set(files.map(([each]) => each)))
    test(`takes out of ${file} what zero weights would silence`, async () => {
      const { graph, shapes } = await open(file)
      const channels = new Channels(graph, shapes)
      const gone = choose(channels, randomFrom(5).below)
      expect(gone.size).toBeGreaterThan(50)
      const [before, after] = [withZeros(graph, channels, gone), removeChannels(graph, channels, gone)]
      const { outputs } = await verify(before, after, inputShapes(graph, SHAPES), { runs: 1, withInner: false })
      expect(outputs.relative).toBeLessThan(1e-4)
    })
})
