import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { hoistConstants } from '@espalier/forge/graph/constants'
import { type Graph, isSizeOpen } from '@espalier/forge/graph/graph'
import { raiseOpset } from '@espalier/forge/graph/raise-opset'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, openRunner, probeShapes, randomFeeds, type Values } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor, TYPE } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { openModelFile } from '@espalier/forge/model-file'
import { measureRanges, valuesToMeasure } from '@espalier/forge/passes/calibrate'
import { fold } from '@espalier/forge/passes/fold'
import { quantiseDynamic } from '@espalier/forge/passes/quantise-dynamic'
import { quantiseHalf } from '@espalier/forge/passes/quantise-half'
import {
  activationScale,
  leastWeightScales,
  quantiseBias,
  quantiseWeight,
  roundHalfEven,
} from '@espalier/forge/passes/quantise-scales'
import { quantiseStatic } from '@espalier/forge/passes/quantise-static'
import { describe, expect, test } from 'vitest'
import { buildGraph, randomTensor } from './build-graph.ts'
import { randomNet } from './random-net.ts'
import { tinyVit } from './tiny-vit.ts'

const GIVEN = new Map([['x', [1, 3, 48, 192]]])
const shapesOf = (graph: Graph) => inputShapes(graph, isSizeOpen(graph) ? GIVEN : new Map())

async function answers(graph: Graph, seeds: readonly number[], optimise = false): Promise<number[][]> {
  const inputs = shapesOf(graph)
  const runner = await openRunner(graph, 'test', { optimise })
  const found: number[][] = []
  for (const seed of seeds)
    found.push([...((await runner.run(randomFeeds(inputs, seed)))[graph.outputs[0]!.name]!.data as Float32Array)])
  await runner.close()
  return found
}

/** Signal over noise in dB, over several inputs together. */
function signalToNoise(wanted: readonly number[][], found: readonly number[][]): number {
  let [signal, noise] = [0, 0]
  for (const [i, row] of wanted.entries())
    for (const [j, value] of row.entries()) {
      signal += value ** 2
      noise += (value - found[i]![j]!) ** 2
    }
  return 10 * Math.log10(signal / noise)
}

const SEEDS = [1, 2, 3, 4, 5, 6]

async function calibrated(graph: Graph, seeds: readonly number[] = SEEDS) {
  const [input] = shapesOf(graph)
  const feeds = seeds.map((seed) => randomFeeds([input!], seed)[input!.name]!)
  return measureRanges(graph, input!, feeds)
}

const opsOf = (graph: Graph): string[] => [...new Set(graph.nodes.map(({ opType }) => opType))].sort()

describe('scales', () => {
  test('round half to even, as the runtime does', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 2.5001].map((value) => roundHalfEven(value) + 0)).toEqual([
      0, 2, 2, 0, -2, 2, 3,
    ])
  })

  test('of activations hold zero exactly, and the whole range', () => {
    for (const range of [
      { low: -1, high: 2 },
      { low: 0, high: 6 },
      { low: 0.5, high: 1 },
      { low: -3, high: -1 },
      { low: 0, high: 0 },
    ]) {
      const { scale, zero } = activationScale(range)
      expect(Number.isInteger(zero) && zero >= 0 && zero <= 255).toBe(true)
      expect(scale * (255 - zero)).toBeGreaterThanOrEqual(range.high - scale / 2)
      expect(scale * -zero).toBeLessThanOrEqual(range.low + scale / 2)
    }
  })

  test('of weights are one for each output, with zero at zero', () => {
    const weight = floatTensor([1, -127, 0, 0, 0.5, 0.25], [3, 2])
    const rows = quantiseWeight(weight, 0, 'w')
    expect([...rows.scales]).toEqual([1, 1, Math.fround(0.5 / 127)])
    expect([...rows.values]).toEqual([1, -127, 0, 0, 127, 64])
    const columns = quantiseWeight(weight, 1, 'w')
    expect([...columns.scales]).toEqual([1 / 127, 1].map(Math.fround))
    expect([...columns.values]).toEqual([127, -127, 0, 0, 64, 0])
    expect([...quantiseWeight(weight, 0, 'w', { limit: 64 }).values].every((value) => Math.abs(value) <= 64)).toBe(true)
    expect(() => quantiseWeight(floatTensor([Number.NaN], [1, 1]), 0, 'w')).toThrow('found NaN, expected finite')
  })

  test('of weights grow where the bias would not fit into int32', () => {
    const least = leastWeightScales([1000, 0], 1e-3)
    const { scales } = quantiseWeight(floatTensor([1e-9, 1], [2, 1]), 0, 'w', { least })
    const { values } = quantiseBias([1000, 0], scales, 1e-3)
    expect(values[0]! * scales[0]! * 1e-3).toBeCloseTo(1000, 2)
    expect(scales[1]).toBe(Math.fround(1 / 127))
  })
})

describe('quantiseStatic()', () => {
  test('stays within 20 dB of signal to noise on random nets, 30 dB in the middle', async () => {
    const found: number[] = []
    for (let seed = 1; seed <= 24; seed++) {
      const { spec, blocks } = randomNet(seed)
      const plain = buildGraph(spec)
      const { graph } = fold(plain, await probeShapes(plain, 'test'))
      const made = quantiseStatic(graph, await calibrated(graph)).graph
      const noise = signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS))
      expect(noise, `seed ${seed}: ${blocks}`).toBeGreaterThan(20)
      found.push(noise)
    }
    expect(found.sort((a, b) => a - b)[12]).toBeGreaterThan(30)
  })

  test('answers alike with and without the fusions of the runtime', async () => {
    for (const seed of [1, 2, 3, 4]) {
      const graph = buildGraph(randomNet(seed).spec)
      const made = quantiseStatic(graph, await calibrated(graph)).graph
      expect(signalToNoise(await answers(made, SEEDS), await answers(made, SEEDS, true))).toBeGreaterThan(20)
    }
  })

  const net = () =>
    buildGraph({
      inputs: { x: [1, 3, 6, 6] },
      weights: {
        'a.w': randomTensor([4, 3, 3, 3], 1),
        'a.b': randomTensor([4], 2),
        'b.w': randomTensor([4, 4, 1, 1], 3),
        'm.w': randomTensor([64, 5], 4),
        shape: { type: TYPE.INT64, dims: [2], data: new Uint8Array(BigInt64Array.of(1n, -1n).buffer) },
      },
      nodes: [
        { op: 'Conv', name: 'a', inputs: ['x', 'a.w', 'a.b'], outputs: ['h'], attributes: { kernel_shape: [3, 3] } },
        { op: 'Relu', name: 'r', inputs: ['h'], outputs: ['g'] },
        { op: 'Conv', name: 'b', inputs: ['g', 'b.w'], outputs: ['c'], attributes: { kernel_shape: [1, 1] } },
        { op: 'Add', name: 's', inputs: ['c', 'g'], outputs: ['d'] },
        { op: 'Reshape', name: 'f', inputs: ['d', 'shape'], outputs: ['e'] },
        { op: 'MatMul', name: 'm', inputs: ['e', 'm.w'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })

  test('quantises what weighted nodes read and make and what is added, and leaves the answer as it is', async () => {
    const graph = net()
    expect(valuesToMeasure(graph).sort()).toEqual(['c', 'd', 'e', 'g', 'x'])
    const { graph: made, report } = quantiseStatic(graph, await calibrated(graph))
    expect(report).toEqual({ mode: 'static', quantised: ['a', 'b', 'm'], left: [] })
    const of = (name: string) => made.initializers.get(name)!
    expect(of('a.weight.int8')).toMatchObject({ type: TYPE.INT8, dims: [4, 3, 3, 3] })
    expect(of('a.weight.scale').dims).toEqual([4])
    expect([...of('a.weight.zero').data]).toEqual([0, 0, 0, 0])
    expect(of('a.bias.int32')).toMatchObject({ type: TYPE.INT32, dims: [4] })
    expect(of('m.weight.scale').dims).toEqual([5])
    expect(of('g.zero').data[0]).toBe(0)
    // The bias has the scale of the products that it is added to.
    const scales = (name: string) => [...floatsOf(of(name), name)]
    expect(scales('a.bias.scale')).toEqual(scales('a.weight.scale').map((s) => Math.fround(s * scales('x.scale')[0]!)))
    // Moving numbers about changes no scale.
    expect(scales('e.scale')).toEqual(scales('d.scale'))
    expect(made.nodes.at(-1)).toMatchObject({ name: 'm', outputs: ['y'] })
    expect(graph.nodes.every(({ name }) => made.nodes.some((node) => node.name === name))).toBe(true)
    expect(made.model).toBe(graph.model)
  })

  test('keeps a large bias over tiny weights', async () => {
    const graph = net()
    const tiny = floatsOf(graph.initializers.get('a.w')!, 'a.w').map((value) => value * 1e-12)
    const loud = {
      ...graph,
      initializers: new Map([...graph.initializers, ['a.w', floatTensor(tiny, [4, 3, 3, 3])]]),
    }
    const made = quantiseStatic(loud, await calibrated(loud)).graph
    expect(signalToNoise(await answers(loud, SEEDS), await answers(made, SEEDS))).toBeGreaterThan(30)
  })

  test('names what it leaves, and why', async () => {
    const graph = buildGraph(tinyVit())
    const { report } = quantiseStatic(graph, await calibrated(graph))
    expect(report.left).toContainEqual({ node: 'block0.scores', reason: '"block0.k.turned" varies: it is no weight' })
    expect(report.left.length).toBe(6)
  })

  test('keeps depthwise convolutions if asked', async () => {
    const seed = [...Array(40).keys()].find((each) => randomNet(each).blocks.includes('depthwise'))!
    const graph = buildGraph(randomNet(seed).spec)
    const { report } = quantiseStatic(graph, await calibrated(graph), { keepsDepthwise: true })
    expect(report.left).toContainEqual({ node: expect.any(String), reason: 'depthwise, kept as asked' })
  })

  test('never lets two products overflow 16 bits with reduced weights', async () => {
    const made = quantiseStatic(net(), await calibrated(net()), { isReduced: true }).graph
    for (const [name, { type, data }] of made.initializers)
      if (type === TYPE.INT8 && name.includes('weight.int8'))
        expect(Math.max(...new Int8Array(data.slice().buffer).map(Math.abs)) * 255 * 2).toBeLessThan(2 ** 15)
  })

  test('gives nodes without names values of their own', async () => {
    const graph = net()
    const unnamed = { ...graph, nodes: graph.nodes.map((node) => ({ ...node, name: '' })) }
    const made = quantiseStatic(unnamed, await calibrated(unnamed)).graph
    expect(readModel(writeModel(made), 'unnamed').nodes.length).toBe(made.nodes.length)
    expect(signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS))).toBeGreaterThan(25)
  })

  test('refuses a model that is quantised, is too old, has no weights, or overflows', async () => {
    const graph = net()
    const ranges = await calibrated(graph)
    const made = quantiseStatic(graph, ranges).graph
    for (const again of [() => quantiseStatic(made, ranges), () => quantiseDynamic(made), () => quantiseHalf(made)])
      expect(again).toThrow(/QuantizeLinear "x.uint8" shows that it is quantised already; start from the original/)
    expect(() => quantiseStatic({ ...graph, opset: 12 }, ranges)).toThrow(/found opset 12, expected 13/)
    const empty = buildGraph({
      inputs: { x: [1, 2] },
      nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    })
    expect(() => quantiseStatic(empty, ranges)).toThrow(/no convolution or matrix/)
    const loud: Values = {
      type: 'float32',
      dims: [1, 3, 6, 6],
      data: new Float32Array(108).fill(Number.POSITIVE_INFINITY),
    }
    await expect(measureRanges(graph, inputShapes(graph)[0]!, [loud])).rejects.toThrow(
      /Cannot calibrate "x": found Infinity/,
    )
  })
})

describe('quantiseDynamic()', () => {
  test('stays within 20 dB on random nets, convolutions and matrices alike', async () => {
    for (let seed = 1; seed <= 16; seed++) {
      const { spec, blocks } = randomNet(seed)
      const plain = buildGraph(spec)
      const { graph } = fold(plain, await probeShapes(plain, 'test'))
      const { graph: made, report } = quantiseDynamic(graph)
      expect(report.left).toEqual([])
      expect(
        signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS)),
        `seed ${seed}: ${blocks}`,
      ).toBeGreaterThan(20)
    }
  })

  test('quantises once what several read, and leaves products of two values', async () => {
    const graph = buildGraph(tinyVit())
    const { graph: made, report } = quantiseDynamic(graph)
    const count = (op: string): number => made.nodes.filter(({ opType }) => opType === op).length
    // Of each block: queries, keys and values together, out, up, down; patches and head beside them.
    expect(count('DynamicQuantizeLinear')).toBe(3 * 4 + 2)
    expect(count('MatMulInteger')).toBe(3 * 6 + 1)
    expect(count('ConvInteger')).toBe(1)
    expect(report.left.map(({ node }) => node)).toContain('block1.scores')
    expect(signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS))).toBeGreaterThan(25)
    expect(signalToNoise(await answers(made, SEEDS), await answers(made, SEEDS, true))).toBeGreaterThan(40)
  })

  test('takes alpha, beta and a transposed weight of Gemm along', async () => {
    for (const transB of [0, 1]) {
      const graph = buildGraph({
        inputs: { x: [3, 6] },
        weights: { w: randomTensor(transB ? [4, 6] : [6, 4], 1), b: randomTensor([1, 4], 2) },
        nodes: [
          {
            op: 'Gemm',
            inputs: ['x', 'w', 'b'],
            outputs: ['y'],
            attributes: { transB, alpha: { float: 0.5 }, beta: { float: 3 } },
          },
        ],
        outputs: ['y'],
      })
      const made = quantiseDynamic(graph).graph
      expect(opsOf(made)).toEqual(['Add', 'Cast', 'DynamicQuantizeLinear', 'MatMulInteger', 'Mul'])
      expect(signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS))).toBeGreaterThan(30)
    }
  })

  test('refuses to quantise twice', () => {
    const { graph: made } = quantiseDynamic(buildGraph(tinyVit()))
    expect(() => quantiseDynamic(made)).toThrow(/DynamicQuantizeLinear ".*" shows that it is quantised already/)
  })

  test('leaves a matrix whose bias varies', () => {
    const graph = buildGraph({
      inputs: { x: [3, 6], b: [3, 4] },
      weights: { w: randomTensor([6, 4], 1) },
      nodes: [{ op: 'Gemm', name: 'g', inputs: ['x', 'w', 'b'], outputs: ['y'] }],
      outputs: ['y'],
    })
    expect(() => quantiseDynamic(graph)).toThrow('"g": its bias "b" is no constant of floats')
  })
})

describe('integers on the runtime', () => {
  test('do not saturate: 255 times 127, summed 512 times, is exact', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 512] },
      weights: {
        w: { type: TYPE.INT8, dims: [512, 8], data: new Uint8Array(4096).fill(127) },
        scale: floatTensor([1], []),
        zero: { type: TYPE.UINT8, dims: [], data: Uint8Array.of(0) },
      },
      nodes: [
        { op: 'QuantizeLinear', inputs: ['x', 'scale', 'zero'], outputs: ['q'] },
        { op: 'MatMulInteger', inputs: ['q', 'w'], outputs: ['i'] },
        { op: 'Cast', inputs: ['i'], outputs: ['y'], attributes: { to: 1 } },
      ],
      outputs: ['y'],
    })
    const runner = await openRunner(graph, 'test', { optimise: true })
    const found = await runner.run({ x: { type: 'float32', dims: [1, 512], data: new Float32Array(512).fill(255) } })
    await runner.close()
    expect([...(found.y!.data as Float32Array)]).toEqual(Array(8).fill(255 * 127 * 512))
  })
})

describe('quantiseHalf()', () => {
  test('halves the file and stays within 60 dB', async () => {
    for (const graph of [buildGraph(tinyVit()), buildGraph(randomNet(3).spec)]) {
      const { graph: made } = quantiseHalf(graph)
      expect(signalToNoise(await answers(graph, SEEDS), await answers(made, SEEDS))).toBeGreaterThan(60)
    }
    const large = buildGraph({
      inputs: { x: [1, 64] },
      weights: { w: randomTensor([64, 256], 1) },
      nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
      outputs: ['y'],
    })
    expect(writeModel(quantiseHalf(large).graph).length / writeModel(large).length).toBeLessThan(0.51)
  })

  test('leaves weights that float16 cannot hold, and small ones', () => {
    const weights = {
      large: floatTensor(new Float32Array(64).fill(1e5), [8, 8]),
      tiny: floatTensor(new Float32Array(64).fill(1e-9), [8, 8]),
      good: randomTensor([8, 8], 1),
      few: randomTensor([8], 2),
    }
    const nodes = ['large', 'tiny', 'good'].map((w, i) => ({
      op: 'MatMul',
      inputs: [`h${i}`, w],
      outputs: [`h${i + 1}`],
    }))
    const graph = buildGraph({
      inputs: { h0: [1, 8] },
      weights,
      nodes: [...nodes, { op: 'Add', inputs: ['h3', 'few'], outputs: ['y'] }],
      outputs: ['y'],
    })
    const { graph: made, report } = quantiseHalf(graph)
    expect(report.quantised).toEqual(['good'])
    expect(report.left).toEqual([
      { node: 'large', reason: '"large" reaches 1.0e+5, more than float16 holds' },
      { node: 'tiny', reason: '"tiny" is at most 1.0e-9, too little for float16' },
    ])
    expect(made.initializers.get('few')).toBe(graph.initializers.get('few'))
    expect(() => quantiseHalf(made)).toThrow(/weight "good.fp16" is stored as float16 already/)
    expect(() => quantiseDynamic(made)).toThrow(/float16 already/)
  })
})

const MODELS = join(process.env.ESPALIER_DATA ?? join(import.meta.dirname, '../../../../shared/data'), 'models')
const isThere = existsSync(MODELS)
if (!isThere) process.stderr.write(`SKIPPED third-party models: "${MODELS}" is absent\n`)

describe.skipIf(!isThere)('models that others made', () => {
  for (const [file, least] of [
    ['cifar10_resnet_4b.onnx', 25],
    ['ch_ppocr_mobile_v2.0_cls_infer.onnx', 10],
  ] as const)
    test(`${file} keeps its answers in each mode`, async () => {
      const hoisted = hoistConstants((await openModelFile(join(MODELS, file))).graph)
      const folded = fold(hoisted, await probeShapes(hoisted, file, GIVEN)).graph
      const graph = raiseOpset(folded, 13, await probeShapes(folded, file, GIVEN))
      const wanted = await answers(hoisted, SEEDS)
      const size = writeModel(graph).length
      const integers = quantiseStatic(graph, await calibrated(graph)).graph
      expect(signalToNoise(wanted, await answers(integers, SEEDS, true))).toBeGreaterThan(least)
      expect(writeModel(integers).length).toBeLessThan(0.5 * size)
      expect(signalToNoise(wanted, await answers(quantiseDynamic(graph).graph, SEEDS))).toBeGreaterThan(least)
      const half = quantiseHalf(graph).graph
      expect(signalToNoise(wanted, await answers(half, SEEDS))).toBeGreaterThan(40)
      expect(writeModel(half).length).toBeLessThan(0.6 * size)
    })
})
