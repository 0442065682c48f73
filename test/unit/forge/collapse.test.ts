import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Graph, Wiring } from '@espalier/forge/graph/graph'
import { readModel } from '@espalier/forge/graph/read'
import { rewrite } from '@espalier/forge/graph/rewrite'
import { inputShapes, probeShapes, randomFeeds } from '@espalier/forge/graph/run'
import { floatTensor, type Tensor } from '@espalier/forge/graph/tensor'
import { plotRanking } from '@espalier/forge/measure/plot-ranking'
import {
  collapse,
  entropyBits,
  minorityError,
  minorityShare,
  normalBelow,
  rankRectifiers,
} from '@espalier/forge/passes/collapse'
import { fold, hoistConstants } from '@espalier/forge/passes/fold'
import { findRectifiers, measureChannels, type Rectifier } from '@espalier/forge/passes/rectifiers'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'
import { randomNet } from './random-net.ts'

const probe = (graph: Graph) => probeShapes(graph, 'test')
const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { withInner: false })).outputs.relative

async function measure(graph: Graph, shapes?: ReadonlyMap<string, readonly number[]>, pictures = 4) {
  const inputs = inputShapes(graph, shapes)
  const feeds = Array.from({ length: pictures }, (_, i) => randomFeeds(inputs, i + 1)[inputs[0]!.name]!)
  const rectifiers = findRectifiers(graph, await probeShapes(graph, 'test', shapes))
  return measureChannels(graph, rectifiers, inputs[0]!, feeds)
}

/** What TLC means, spelled out: a factor for each channel in the rectifier's place. */
function withFactors(graph: Graph, rectifier: Rectifier, rank: number, factors: readonly number[]): Graph {
  const dims = Array.from({ length: rank - rectifier.channelAxis }, (_, i) => (i === 0 ? factors.length : 1))
  const last = new Wiring(graph).producerOf(rectifier.output)!
  const product = { ...last, opType: 'Mul', inputs: [rectifier.input, 'factors'], attributes: new Map() }
  return rewrite(graph, {
    nodes: new Map([[last, [product]]]),
    initializers: new Map([['factors', floatTensor(factors, dims)]]),
  })
}

describe('the scores', () => {
  test('of TLC are the normal distribution of beta / |gamma|', () => {
    for (const [ratio, share] of [
      [0, 0.5],
      [1, 0.1587],
      [2, 0.0228],
      [3, 0.00135],
    ] as const) {
      expect(minorityShare(ratio, 1)).toBeCloseTo(share, 4)
      expect(minorityShare(-2 * ratio, 2)).toBeCloseTo(share, 4)
      expect(normalBelow(-ratio) + normalBelow(ratio)).toBeCloseTo(1, 6)
    }
    expect([minorityShare(1, 0), minorityShare(0, 0), minorityError(-1, 0)]).toEqual([0, 0, 0])
    // The mean of |z| below zero for N(0, 1) is its density at zero.
    expect(minorityError(0, 1)).toBeCloseTo(1 / Math.sqrt(2 * Math.PI), 6)
    expect(minorityError(0, 3)).toBeCloseTo(3 * minorityError(0, 1), 6)
    expect(minorityError(4, 1)).toBeLessThan(1e-4)
  })

  test('of EASIER are entropies in bits', () => {
    expect(entropyBits(0.5)).toBe(1)
    expect(entropyBits(0.25)).toBeCloseTo(0.8113, 4)
    expect(entropyBits(0.75)).toBeCloseTo(0.8113, 4)
    expect([entropyBits(0), entropyBits(1)]).toEqual([0, 0])
  })

  test('of EASIER count zero as positive, over all data at once', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 2, 2, 2] },
      nodes: [{ op: 'Relu', name: 'act', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    })
    const rectifiers = findRectifiers(graph, await probe(graph))
    const feed = (data: number[]) => ({ type: 'float32', dims: [1, 2, 2, 2], data: Float32Array.from(data) })
    const feeds = [feed([1, -1, -1, -1, 0, 0, 1, 1]), feed([1, -1, -1, -1, 2, 0, 1, 1])]
    const measured = await measureChannels(graph, rectifiers, inputShapes(graph)[0]!, feeds)
    expect([...measured.get('act')!.positive]).toEqual([0.25, 1])
    const [found] = rankRectifiers(graph, await probe(graph), 'easier', measured)
    expect(found!.score).toBeCloseTo(0.8113 / 2, 4)
    expect(found).toMatchObject({ on: 1, off: 1 })
  })
})

/** Channels on, off, undecided, and with no spread at all. */
const beta = [5, -5, 0, 1, -1, 4]
const gamma = [0.5, 0.5, 1, 0, 0, -0.5]
const isOn = [true, false, false, true, false, true]
const weights: Record<string, Tensor> = {
  w1: randomTensor([6, 3, 3, 3], 1),
  b1: randomTensor([6], 2),
  gamma: floatTensor(gamma, [6]),
  beta: floatTensor(beta, [6]),
  mean: randomTensor([6], 3),
  variance: floatTensor([1, 2, 1, 0.5, 1, 2], [6]),
  w2: randomTensor([2, 6, 1, 1], 4),
  w3: randomTensor([4, 6, 3, 3], 5),
  d: randomTensor([6, 1, 3, 3], 6),
  shift: randomTensor([6], 7),
  scale: floatTensor([1, 0.5, 2, 1, 1.5, 1], [6]),
  v: randomTensor([6, 2, 1, 1], 8),
  bias: randomTensor([6], 9),
  mean2: randomTensor([6], 10),
  variance2: floatTensor([1, 1, 2, 2, 1, 1], [6]),
  low: floatTensor([0], []),
  high: floatTensor([6], []),
}
const pads = [1, 1, 1, 1]
const head: NodeSpec[] = [
  { op: 'Conv', name: 'conv', inputs: ['x', 'w1', 'b1'], outputs: ['c'], attributes: { pads } },
  { op: 'BatchNormalization', name: 'norm', inputs: ['c', 'gamma', 'beta', 'mean', 'variance'], outputs: ['n'] },
  { op: 'Relu', name: 'act', inputs: ['n'], outputs: ['r'] },
]
const netOf = (tail: NodeSpec[], rectifier?: NodeSpec): Graph => {
  const spec: GraphSpec = {
    inputs: { x: [1, 3, 8, 8] },
    weights,
    nodes: [...(rectifier ? [...head.slice(0, 2), rectifier] : head), ...tail],
    outputs: ['y'],
  }
  return buildGraph(spec)
}
const meantBy = async (graph: Graph, factors: readonly number[]): Promise<Graph> => {
  const shapes = await probe(graph)
  const rectifier = findRectifiers(graph, shapes).find(({ name }) => name === 'act')!
  return withFactors(graph, rectifier, shapes.get(rectifier.input)!.length, factors)
}
const widthOf = (graph: Graph, node: string): number =>
  graph.initializers.get(graph.nodes.find(({ name }) => name === node)!.inputs[1]!)!.dims[0]!
const plain: NodeSpec = { op: 'Conv', name: 'next', inputs: ['r', 'w2'], outputs: ['y'] }
const masks = isOn.map(Number)

describe('collapse by TLC', () => {
  test('takes channels out that are off and lets the others through; beta = 0 is off, and gamma = 0 is as beta says', async () => {
    const graph = netOf([plain])
    const { graph: made, report } = await collapse(graph, probe, { method: 'tlc', names: ['act'] })
    expect(report.collapsed).toEqual([{ name: 'act', kind: 'Relu', removed: 3, zeroed: 0 }])
    expect(report.ranking).toMatchObject([{ name: 'act', on: 3, off: 3 }])
    expect(made.nodes.map(({ opType }) => opType)).toEqual(['Conv', 'BatchNormalization', 'Conv'])
    expect(widthOf(made, 'conv')).toBe(3)
    expect(await differenceOf(await meantBy(graph, masks), made)).toBeLessThan(1e-5)
    const folded = fold(made, await probe(made))
    expect(folded.graph.nodes).toHaveLength(1)
    expect(await differenceOf(made, folded.graph)).toBeLessThan(1e-5)
  })

  test('puts what a removed channel amounts to behind a depthwise filter and its BatchNorm into the next bias', async () => {
    const clipped = netOf([
      { op: 'Conv', name: 'depth', inputs: ['r', 'd', 'bias'], outputs: ['e'], attributes: { group: 6, pads } },
      { op: 'BatchNormalization', inputs: ['e', 'scale', 'shift', 'mean2', 'variance2'], outputs: ['f'] },
      { op: 'Clip', inputs: ['f', 'low', 'high'], outputs: ['g'] },
      { op: 'Conv', name: 'next', inputs: ['g', 'w2'], outputs: ['y'] },
    ])
    const { graph: made, report } = await collapse(clipped, probe, { method: 'tlc', names: ['act'] })
    expect(report.collapsed).toMatchObject([{ removed: 3, zeroed: 0 }])
    expect(widthOf(made, 'depth')).toBe(3)
    expect(await differenceOf(await meantBy(clipped, masks), made)).toBeLessThan(1e-5)
  })

  test('sets channels to zero that cannot go: a sum needs them, or padding would show what they amount to', async () => {
    const residual = netOf([
      { ...plain, outputs: ['y1'] },
      { op: 'Conv', name: 'back', inputs: ['y1', 'v'], outputs: ['z'] },
      { op: 'Add', name: 'sum', inputs: ['z', 'r'], outputs: ['s'] },
      { op: 'Conv', name: 'last', inputs: ['s', 'w2'], outputs: ['y'] },
    ])
    const shifted = netOf([
      { op: 'BatchNormalization', inputs: ['r', 'scale', 'shift', 'mean2', 'variance2'], outputs: ['f'] },
      { op: 'Conv', name: 'next', inputs: ['f', 'w3'], outputs: ['y'], attributes: { pads } },
    ])
    for (const graph of [residual, shifted]) {
      const { graph: made, report } = await collapse(graph, probe, { method: 'tlc', names: ['act'] })
      expect(report.collapsed).toMatchObject([{ removed: 0, zeroed: 3 }])
      expect(await differenceOf(await meantBy(graph, masks), made)).toBeLessThan(1e-5)
    }
  })

  test('leaves another reader of the same values, or of the same weights, what it read', async () => {
    const both = netOf([
      { op: 'Conv', name: 'next', inputs: ['r', 'w2'], outputs: ['p'] },
      { op: 'Conv', name: 'other', inputs: ['n', 'w2'], outputs: ['q'] },
      { op: 'Add', inputs: ['p', 'q'], outputs: ['y'] },
    ])
    const shared = netOf([
      { op: 'Conv', name: 'conv2', inputs: ['x', 'w1', 'b1'], outputs: ['c2'], attributes: { pads } },
      { op: 'BatchNormalization', inputs: ['c2', 'gamma', 'beta', 'mean', 'variance'], outputs: ['n2'] },
      { op: 'Concat', inputs: ['r', 'n2'], outputs: ['y'], attributes: { axis: 1 } },
    ])
    for (const graph of [both, shared]) {
      const { graph: made } = await collapse(graph, probe, { method: 'tlc', names: ['act'] })
      expect(await differenceOf(await meantBy(graph, masks), made)).toBeLessThan(1e-5)
    }
  })

  test('gives a leaky rectifier its slope where it is off', async () => {
    const graph = netOf([plain], {
      op: 'LeakyRelu',
      name: 'act',
      inputs: ['n'],
      outputs: ['r'],
      attributes: { alpha: { float: 0.2 } },
    })
    const relu = rankRectifiers(netOf([plain]), await probe(netOf([plain])), 'tlc')[0]!
    const leaky = rankRectifiers(graph, await probe(graph), 'tlc')[0]!
    expect(leaky.score! / relu.score!).toBeCloseTo(0.8, 5)
    const { graph: made } = await collapse(graph, probe, { method: 'tlc' })
    expect(
      await differenceOf(
        await meantBy(
          graph,
          isOn.map((on) => (on ? 1 : 0.2)),
        ),
        made,
      ),
    ).toBeLessThan(1e-5)
  })

  test('leaves one channel where all are off', async () => {
    const graph = netOf([plain])
    const all = new Map([...graph.initializers, ['beta', floatTensor(Array(6).fill(-9), [6])]])
    const { graph: made, report } = await collapse({ ...graph, initializers: all }, probe, { method: 'tlc' })
    expect(report.collapsed).toMatchObject([{ removed: 5, zeroed: 1 }])
    expect(await differenceOf(await meantBy({ ...graph, initializers: all }, Array(6).fill(0)), made)).toBeLessThan(
      1e-5,
    )
  })

  test('does to random nets what its scores mean, whatever depends on the channels', { timeout: 120_000 }, async () => {
    let [collapsed, removed, zeroed, worst] = [0, 0, 0, 0]
    for (let seed = 1; seed <= 24; seed++) {
      const graph = hoistConstants(buildGraph(randomNet(seed).spec))
      const shapes = await probe(graph)
      const measured = await measure(graph)
      for (const candidate of rankRectifiers(graph, shapes, 'tlc', measured).slice(0, 3)) {
        if (candidate.score === null) continue
        const { rectifier, isOff } = candidate
        const rank = shapes.get(rectifier.input)!.length
        const meant = withFactors(
          graph,
          rectifier,
          rank,
          isOff.map((off) => (off ? rectifier.slope : 1)),
        )
        const { graph: made, report } = await collapse(graph, probe, {
          method: 'tlc',
          names: [candidate.name],
          measured,
        })
        const difference = await differenceOf(meant, made)
        expect(difference, `seed ${seed}, ${candidate.name}`).toBeLessThan(1e-4)
        worst = Math.max(worst, difference)
        collapsed++
        removed += report.collapsed[0]!.removed
        zeroed += report.collapsed[0]!.zeroed
      }
    }
    process.stdout.write(
      `${collapsed} rectifiers of 24 nets collapsed: ${removed} channels taken out, ${zeroed} set to zero; largest difference ${worst.toExponential(1)}\n`,
    )
    expect(removed).toBeGreaterThan(30)
    expect(zeroed).toBeGreaterThan(30)
  })

  test('is refused by name: none has a score, or none is called so', async () => {
    const bare = buildGraph({
      inputs: { x: [1, 3, 8, 8] },
      weights,
      nodes: [
        { op: 'Conv', name: 'conv', inputs: ['x', 'w1'], outputs: ['c'] },
        { op: 'Relu', name: 'act', inputs: ['c'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    await expect(collapse(bare, probe, { method: 'tlc' })).rejects.toThrow(
      /no rectifier has a score; act: its input is made by Conv "conv", not by BatchNorm: calibration data would tell/,
    )
    await expect(collapse(netOf([plain]), probe, { method: 'tlc', names: ['gone'] })).rejects.toThrow(
      /Cannot collapse "gone": found "act"/,
    )
  })
})

describe('GELU between matrices', () => {
  const mlp = (gelu: NodeSpec[], constants: Record<string, number> = {}): Graph =>
    buildGraph({
      inputs: { x: [1, 5, 4] },
      weights: {
        w1: randomTensor([4, 16], 1),
        b1: randomTensor([16], 2),
        w2: randomTensor([16, 4], 3),
        root: floatTensor([constants.root ?? Math.SQRT2], []),
        one: floatTensor([1], []),
        half: floatTensor([constants.half ?? 0.5], []),
      },
      nodes: [
        { op: 'MatMul', name: 'up', inputs: ['x', 'w1'], outputs: ['u'] },
        { op: 'Add', inputs: ['u', 'b1'], outputs: ['h'] },
        { op: 'Div', inputs: ['h', 'root'], outputs: ['d'] },
        { op: 'Erf', name: 'act', inputs: ['d'], outputs: ['e'] },
        { op: 'Add', inputs: ['e', 'one'], outputs: ['p'] },
        ...gelu,
        { op: 'MatMul', name: 'down', inputs: ['g', 'w2'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
  const mul = (a: string, b: string, to: string): NodeSpec => ({ op: 'Mul', inputs: [a, b], outputs: [to] })
  const orders = [
    [mul('h', 'p', 'q'), mul('q', 'half', 'g')],
    [mul('p', 'half', 'q'), mul('q', 'h', 'g')],
    [mul('half', 'h', 'q'), mul('q', 'p', 'g')],
  ]

  test('is found in whichever order it is multiplied, and not where it is something else', async () => {
    for (const order of orders) {
      const graph = mlp(order)
      expect(findRectifiers(graph, await probe(graph))).toMatchObject([
        { name: 'act', kind: 'Gelu', input: 'h', output: 'g', channelAxis: 2, channels: 16 },
      ])
    }
    for (const constants of [{ half: 0.4 }, { root: 2 }]) {
      const graph = mlp(orders[0]!, constants)
      expect(findRectifiers(graph, await probe(graph))).toEqual([])
    }
  })

  test('needs data, and is then one matrix', async () => {
    for (const order of orders) {
      const graph = mlp(order)
      await expect(collapse(graph, probe, { method: 'tlc' })).rejects.toThrow(/calibration data would tell/)
      const measured = await measure(graph)
      const { graph: made, report } = await collapse(graph, probe, { method: 'tlc', measured })
      const { on, off } = report.ranking[0]!
      expect([on + off, report.collapsed[0]!.removed + report.collapsed[0]!.zeroed]).toEqual([16, off])
      const [candidate] = rankRectifiers(graph, await probe(graph), 'tlc', measured)
      const meant = withFactors(
        graph,
        candidate!.rectifier,
        3,
        candidate!.isOff.map((isOff) => (isOff ? 0 : 1)),
      )
      expect(await differenceOf(meant, made)).toBeLessThan(1e-5)
      const { graph: folded } = fold(made, await probe(made))
      expect(folded.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Add'])
      expect(await differenceOf(made, folded)).toBeLessThan(1e-5)
    }
  })
})

describe('collapse by EASIER', () => {
  test('makes everything pass, and needs data', async () => {
    const graph = netOf([plain])
    await expect(collapse(graph, probe, { method: 'easier' })).rejects.toThrow(/EASIER needs calibration data/)
    const { graph: made } = await collapse(graph, probe, { method: 'easier', measured: await measure(graph) })
    expect(await differenceOf(await meantBy(graph, Array(6).fill(1)), made)).toBeLessThan(1e-5)
  })

  test('takes the lowest entropy first, as many as are asked for', async () => {
    const graph = hoistConstants(buildGraph(randomNet(3).spec))
    const measured = await measure(graph)
    const { report } = await collapse(graph, probe, { method: 'easier', count: 2, measured })
    const scores = report.ranking.map(({ score }) => score!)
    expect(scores).toEqual([...scores].sort((a, b) => a - b))
    expect(report.collapsed.map(({ name }) => name)).toEqual(report.ranking.slice(0, 2).map(({ name }) => name))
    const again = await collapse(graph, probe, { method: 'easier', count: 2, measured })
    expect(again.report).toEqual(report)
  })
})

describe('models of others', () => {
  const models = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
  const read = async (file: string): Promise<Graph> =>
    hoistConstants(readModel(await readFile(join(models, file)), file))
  if (!existsSync(models)) process.stderr.write(`SKIPPED collapse of third-party models: "${models}" is absent\n`)

  test.skipIf(!existsSync(models))('with BatchNorm are ranked and collapsed without data', async () => {
    const graph = await read('ch_ppocr_mobile_v2.0_cls_infer.onnx')
    const shapes = new Map([['x', [1, 3, 48, 192]]])
    const at = (made: Graph) => probeShapes(made, 'ppocr', shapes)
    const { graph: made, report } = await collapse(graph, at, { method: 'tlc', count: 6 })
    expect(report.ranking.filter(({ score }) => score !== null)).toHaveLength(24)
    expect(report.collapsed).toHaveLength(6)
    expect(report.collapsed.reduce((sum, { removed }) => sum + removed, 0)).toBeGreaterThan(10)
    const { graph: folded } = fold(made, await at(made))
    const found = await verify(made, folded, inputShapes(graph, shapes), { runs: 1, withInner: false })
    expect(found.outputs.relative).toBeLessThan(1e-4)
  })

  test.skipIf(!existsSync(models))('whose BatchNorm is folded need data, and say so', async () => {
    const graph = await read('cifar10_resnet_4b.onnx')
    await expect(collapse(graph, probe, { method: 'tlc' })).rejects.toThrow(/Relu_1.*Conv "Conv_0".*calibration data/)
    const measured = await measure(graph)
    for (const method of ['tlc', 'easier'] as const) {
      const { report } = await collapse(graph, probe, { method, count: 10, measured })
      expect(report.ranking).toHaveLength(10)
      expect(report.collapsed.length + report.left.length).toBe(10)
    }
  })
})

describe('the plot of a ranking', () => {
  test('names every rectifier that has a score, and is the same text for the same figures', async () => {
    const graph = netOf([plain])
    const ranking = rankRectifiers(graph, await probe(graph), 'tlc')
    const svg = plotRanking(ranking, 'tlc')
    expect(svg).toContain('>Relu act<')
    expect(svg).toContain('>3 of 6 on<')
    expect(plotRanking(ranking, 'tlc')).toBe(svg)
  })
})
