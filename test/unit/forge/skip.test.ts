import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Graph } from '@espalier/forge/graph/graph'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, probeShapes, randomFeeds } from '@espalier/forge/graph/run'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { hoistConstants } from '@espalier/forge/passes/fold'
import {
  type BlockDistance,
  findBlocks,
  measureBlocks,
  randomDirections,
  removeBlocks,
  requireBlocks,
  skip,
  wasserstein2,
} from '@espalier/forge/passes/skip'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type NodeSpec, randomTensor } from './build-graph.ts'
import { tinyVit } from './tiny-vit.ts'

const probe = (graph: Graph) => probeShapes(graph, 'test')
const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { withInner: false })).outputs.relative

const pads = [1, 1, 1, 1]
const weights = {
  w: randomTensor([4, 4, 3, 3], 1),
  v: randomTensor([4, 4, 3, 3], 2),
  wide: randomTensor([8, 4, 1, 1], 3),
}
/** x + conv(relu(conv(x))), then a rectifier where `isRectified`. */
const block = (name: string, from: string, to: string, isRectified: boolean): NodeSpec[] => [
  { op: 'Conv', name: `${name}.conv`, inputs: [from, 'w'], outputs: [`${name}.c`], attributes: { pads } },
  { op: 'Relu', name: `${name}.act`, inputs: [`${name}.c`], outputs: [`${name}.r`] },
  { op: 'Conv', name: `${name}.conv2`, inputs: [`${name}.r`, 'v'], outputs: [`${name}.d`], attributes: { pads } },
  { op: 'Add', name, inputs: [`${name}.d`, from], outputs: [isRectified ? `${name}.s` : to] },
  ...(isRectified ? [{ op: 'Relu', name: `${name}.end`, inputs: [`${name}.s`], outputs: [to] }] : []),
]
const net = (nodes: NodeSpec[]): Graph => buildGraph({ inputs: { x: [1, 4, 6, 6] }, weights, nodes, outputs: ['y'] })
const stem: NodeSpec = { op: 'Relu', name: 'stem', inputs: ['x'], outputs: ['a'] }
const rectified = net([
  stem,
  ...block('one', 'a', 'b', true),
  ...block('two', 'b', 'c', true),
  ...block('three', 'c', 'y', true),
])
const bare = net([
  stem,
  ...block('one', 'a', 'b', false),
  ...block('two', 'b', 'c', false),
  ...block('three', 'c', 'y', false),
])

describe('the distance of two sets of points', () => {
  test('is zero of a set to itself, in whatever order', () => {
    expect(wasserstein2([3, 1, 2], [2, 3, 1])).toBe(0)
    expect(wasserstein2([0, 0], [3, 4])).toBeCloseTo(Math.sqrt(12.5), 12)
  })

  test('is c after a shift by c along one of the directions, and 0 after none', async () => {
    // 2 x 2 x 2 numbers; the seventh of the directions that measureBlocks draws.
    const along = randomDirections(50, 8, 1)[7]!
    expect(along.reduce((sum, value) => sum + value * value, 0)).toBeCloseTo(1, 12)
    for (const c of [0, 0.75]) {
      const graph = buildGraph({
        inputs: { x: [1, 2, 2, 2] },
        weights: {
          zero: floatTensor([0], [1]),
          u: floatTensor(
            along.map((value) => c * value),
            [1, 2, 2, 2],
          ),
        },
        nodes: [
          { op: 'Neg', inputs: ['x'], outputs: ['a'] },
          { op: 'Mul', inputs: ['a', 'zero'], outputs: ['m'] },
          { op: 'Add', inputs: ['m', 'u'], outputs: ['f'] },
          { op: 'Add', name: 'sum', inputs: ['a', 'f'], outputs: ['y'] },
        ],
        outputs: ['y'],
      })
      const input = inputShapes(graph)[0]!
      const feeds = Array.from({ length: 9 }, (_, i) => randomFeeds([input], i + 1).x!)
      const [found] = await measureBlocks(graph, findBlocks(graph, await probe(graph)), input, feeds)
      expect(found!.maxDistance).toBeCloseTo(c, 5)
      expect(found!.meanDistance).toBeLessThanOrEqual(found!.maxDistance)
    }
  })

  test('is the same for the same seed', () => {
    expect(randomDirections(3, 5, 4)).toEqual(randomDirections(3, 5, 4))
    expect(randomDirections(3, 5, 4)).not.toEqual(randomDirections(3, 5, 5))
  })
})

describe('blocks', () => {
  test('of residual nets end with the rectifier where the input has been rectified too', async () => {
    expect(findBlocks(rectified, await probe(rectified))).toEqual([
      { name: 'one', input: 'a', output: 'b' },
      { name: 'two', input: 'b', output: 'c' },
      { name: 'three', input: 'c', output: 'y' },
    ])
    const mixed = net([
      { op: 'Conv', name: 'stem', inputs: ['x', 'w'], outputs: ['a'], attributes: { pads } },
      ...block('one', 'a', 'y', true),
    ])
    expect(findBlocks(mixed, await probe(mixed))).toEqual([{ name: 'one', input: 'a', output: 'one.s' }])
  })

  test('of transformers are attention and the matrices after it', async () => {
    const graph = buildGraph(tinyVit({ blocks: 3 }))
    const found = findBlocks(graph, await probe(graph))
    expect(found).toHaveLength(6)
    const gone = removeBlocks(graph, found)
    expect(gone.nodes.some(({ opType }) => opType === 'Softmax' || opType === 'Erf')).toBe(false)
    expect([...(await probe(gone)).get(graph.outputs[0]!.name)!]).toEqual([
      ...(await probe(graph)).get(graph.outputs[0]!.name)!,
    ])
  })

  test('go in any order and number, the last one too whose output is that of the model', async () => {
    for (const [graph, op] of [
      [rectified, 'Relu'],
      [bare, 'Identity'],
    ] as const) {
      const blocks = findBlocks(graph, await probe(graph))
      const all = removeBlocks(graph, blocks)
      expect(all.nodes.filter(({ opType }) => opType === 'Conv')).toEqual([])
      expect(await differenceOf(net([stem, { op, inputs: ['a'], outputs: ['y'] }]), all)).toBe(0)
      const [first, middle, last] = blocks as [BlockDistance, BlockDistance, BlockDistance]
      const left = net([stem, ...block('two', 'a', 'y', op === 'Relu')])
      expect(await differenceOf(left, removeBlocks(graph, [last, first]))).toBe(0)
      expect(await differenceOf(left, removeBlocks(graph, [first, last]))).toBe(0)
      expect(removeBlocks(graph, [middle]).nodes.length).toBe(graph.nodes.length - (op === 'Relu' ? 5 : 4))
    }
  })

  test('that are none are named with the reason', async () => {
    const graph = net([
      stem,
      { op: 'Conv', name: 'left', inputs: ['a', 'wide'], outputs: ['p'] },
      { op: 'Conv', name: 'right', inputs: ['a', 'wide'], outputs: ['q'] },
      { op: 'Add', name: 'sum', inputs: ['p', 'q'], outputs: ['y'] },
    ])
    const shapes = await probe(graph)
    expect(() => requireBlocks(graph, shapes, 'net')).toThrow(
      /Cannot skip blocks of "net": found "sum" \(neither side is what the other is computed from\), expected a residual/,
    )
    const plain = net([{ ...stem, outputs: ['y'] }])
    expect(() => requireBlocks(plain, new Map(), 'net')).toThrow(/found no sum of two values/)
    expect(() => removeBlocks(plain, [{ name: 'gone', input: 'x', output: 'z' }])).toThrow(/Cannot remove block "gone"/)
  })
})

describe('skip', () => {
  const distances = async (): Promise<BlockDistance[]> => {
    const found = findBlocks(bare, await probe(bare))
    return found.map((each, i) => ({ ...each, maxDistance: [0.3, 0.1, 0.2][i]!, meanDistance: 0.1 }))
  }
  const convsOf = (graph: Graph): string[] =>
    graph.nodes.filter(({ name }) => name.endsWith('.conv')).map(({ name }) => name)

  test('tries the block first that moves its input least, and stops at the first that harms too much', async () => {
    const seen: string[][] = []
    const judge = async (graph: Graph) => {
      seen.push(convsOf(graph))
      return { harm: seen.length, loss: seen.length / 10 }
    }
    const { graph, report } = await skip(bare, await distances(), judge, { tolerance: 1 })
    expect(seen).toEqual([['one.conv', 'three.conv'], ['one.conv']])
    expect(report.steps).toEqual([
      { block: 'two', harm: 1, loss: 0.1, isKept: true },
      { block: 'three', harm: 2, loss: 0.2, isKept: false },
    ])
    expect(report.blocks.map(({ name }) => name)).toEqual(['two', 'three', 'one'])
    expect(convsOf(graph)).toEqual(['one.conv', 'three.conv'])
  })

  test('puts a harmful block back and goes on, as often as it may try', async () => {
    const judge = async (graph: Graph) => ({ harm: convsOf(graph).includes('two.conv') ? 0 : 9, loss: null })
    const { graph, report } = await skip(bare, await distances(), judge, { tolerance: 1, tries: 1 })
    expect(report.steps.map(({ block, isKept }) => [block, isKept])).toEqual([
      ['two', false],
      ['three', true],
      ['one', true],
    ])
    expect(await differenceOf(net([stem, ...block('two', 'a', 'y', false)]), graph)).toBe(0)
  })

  test('takes out no more than asked for, and nothing gives the graph back as it was', async () => {
    const harmless = async () => ({ harm: 0, loss: null })
    const one = await skip(bare, await distances(), harmless, { tolerance: 0, atMost: 1 })
    expect(convsOf(one.graph)).toEqual(['one.conv', 'three.conv'])
    const none = await skip(bare, await distances(), async () => ({ harm: 1, loss: null }), { tolerance: 0 })
    expect(none.graph).toBe(bare)
  })

  const models = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
  if (!existsSync(models)) process.stderr.write(`SKIPPED skipping of third-party models: "${models}" is absent\n`)
  test.skipIf(!existsSync(models)).for([
    ['cifar10_resnet_4b.onnx', 2, undefined],
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', 7, new Map([['x', [1, 3, 48, 192]]])],
  ] as const)('finds and takes out the blocks of %s', async ([file, count, given]) => {
    const graph = hoistConstants(readModel(await readFile(join(models, file)), file))
    const blocks = findBlocks(graph, await probeShapes(graph, file, given))
    expect(blocks).toHaveLength(count)
    const input = inputShapes(graph, given)[0]!
    const feeds = [1, 2, 3].map((seed) => randomFeeds([input], seed)[input.name]!)
    const measured = await measureBlocks(graph, blocks, input, feeds, { directions: 5 })
    expect(measured.every(({ maxDistance }) => maxDistance > 0)).toBe(true)
    const { graph: made } = await skip(graph, measured, async () => ({ harm: 0, loss: null }), { tolerance: 0 })
    expect(findBlocks(made, await probeShapes(made, file, given))).toEqual([])
  })
})
