import { type ConvForm, chain, type Pair, whyNotChain } from '@espalier/forge/graph/conv-form'
import type { Graph } from '@espalier/forge/graph/graph'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { fold } from '@espalier/forge/passes/fold'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'

const foldOf = async (graph: Graph) => fold(graph, await probeShapes(graph, 'test'))
const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { runs: 1, withInner: false })).outputs.relative

/** The same pair for the same seed. */
function randomPair(seed: number): { spec: GraphSpec; isLinear: boolean } {
  let state = (seed * 2246822519 + 374761393) >>> 0
  const below = (n: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return (state >>> 8) % n
  }
  const pick = <T>(values: readonly T[]): T => values[below(values.length)]!
  if (below(8) === 0) {
    const [a, b, c] = [1 + below(6), 1 + below(12), 1 + below(6)]
    const transB = below(2)
    return {
      isLinear: true,
      spec: {
        inputs: { x: [2, a] },
        weights: {
          w1: randomTensor([a, b], seed),
          b1: randomTensor([b], seed + 1),
          w2: randomTensor(transB ? [c, b] : [b, c], seed + 2),
          b2: randomTensor([c], seed + 3),
        },
        nodes: [
          { op: 'MatMul', inputs: ['x', 'w1'], outputs: ['p'] },
          { op: 'Add', inputs: ['p', 'b1'], outputs: ['h'] },
          {
            op: 'Gemm',
            inputs: ['h', 'w2', 'b2'],
            outputs: ['y'],
            attributes: { transB, alpha: { float: 0.5 }, beta: { float: 2 } },
          },
        ],
        outputs: ['y'],
      },
    }
  }
  const [g1, g2] = [pick([1, 1, 1, 2, 4]), pick([1, 1, 1, 2, 4])]
  const [inputs, middle, outputs] = [4 * (1 + below(2)), 4 * (1 + below(2)), 4 * (1 + below(2))]
  const conv = (from: string, to: string, index: number, ci: number, co: number, group: number) => {
    const kernel: Pair = [1 + below(3), 1 + below(3)]
    const pads = below(2) ? [0, 0, 0, 0] : [below(3), below(3), below(3), below(3)]
    const node: NodeSpec = {
      op: 'Conv',
      name: `conv${index}`,
      inputs: below(3) ? [from, `w${index}`, `b${index}`] : [from, `w${index}`],
      outputs: [to],
      attributes: {
        kernel_shape: kernel,
        strides: [1 + below(3), 1 + below(2)],
        dilations: [1 + below(2), 1 + below(2)],
        pads,
        group,
      },
    }
    return {
      node,
      weights: {
        [`w${index}`]: randomTensor([co, ci / group, ...kernel], seed + index),
        [`b${index}`]: randomTensor([co], seed + 10 + index),
      },
    }
  }
  const first = conv('x', 'h', 1, inputs, middle, g1)
  const second = conv('h', 'y', 2, middle, outputs, g2)
  return {
    isLinear: false,
    spec: {
      inputs: { x: [1, inputs, 19 + below(6), 19 + below(6)] },
      weights: { ...first.weights, ...second.weights },
      nodes: [first.node, second.node],
      outputs: ['y'],
    },
  }
}

describe('fold', () => {
  test('2,000 random pairs give the outputs of the original, borders included, or are refused with the reason', {
    timeout: 240_000,
  }, async () => {
    const reasons = new Map<string, number>()
    let [fused, worst, maps] = [0, 0, 0]
    for (let seed = 1; seed <= 2000; seed++) {
      const graph = buildGraph(randomPair(seed).spec)
      const { graph: folded, report } = await foldOf(graph)
      if (report.fused.length === 0) {
        expect(report.refused.length, `seed ${seed}`).toBeGreaterThan(0)
        const reason = report.refused[0]!.reason.replace(/[\d,.]+( x \d+)?/g, 'n')
        reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
        continue
      }
      fused++
      if (report.fused.some(({ hasBorderMap }) => hasBorderMap)) maps++
      const difference = await differenceOf(graph, folded)
      worst = Math.max(worst, difference)
      expect(difference, `seed ${seed}`).toBeLessThan(1e-4)
    }
    process.stdout.write(
      `${fused} of 2000 pairs folded, ${maps} with a border map; largest difference ${worst.toExponential(1)}; refused: ${JSON.stringify(Object.fromEntries(reasons))}\n`,
    )
    expect(fused).toBeGreaterThan(200)
    expect(maps).toBeGreaterThan(5)
  })

  test('the arithmetic is exact wherever the gate would also let it through', async () => {
    // The gate refuses most pairs as too dear; here cost does not count.
    let checked = 0
    for (let seed = 1; seed <= 400; seed++) {
      const { spec, isLinear } = randomPair(seed)
      if (isLinear) continue
      const graph = buildGraph(spec)
      const [first, second] = graph.nodes.map((node) => formOf(graph, node.name)) as [ConvForm, ConvForm]
      if (whyNotChain(first, second) !== undefined) continue
      const [height, width] = spec.inputs.x!.slice(2) as [number, number]
      const form = chain(first, second, [height, width])
      const made = buildGraph({
        inputs: spec.inputs,
        outputs: ['y'],
        weights: {
          w: floatTensor(form.weight, [form.outputs, form.inputs / form.group, ...form.kernel]),
          b:
            form.bias.kind === 'vector'
              ? floatTensor(form.bias.values, [1, form.outputs, 1, 1])
              : floatTensor(form.bias.values, [1, form.outputs, form.bias.height, form.bias.width]),
        },
        nodes: [
          {
            op: 'Conv',
            inputs: ['x', 'w'],
            outputs: ['z'],
            attributes: { kernel_shape: form.kernel, strides: form.strides, pads: form.pads, group: form.group },
          },
          { op: 'Add', inputs: ['z', 'b'], outputs: ['y'] },
        ],
      })
      expect(await differenceOf(graph, made), `seed ${seed}`).toBeLessThan(1e-4)
      checked++
    }
    expect(checked).toBeGreaterThan(150)
  })

  const norm = {
    scale: randomTensor([4], 1),
    shift: randomTensor([4], 2),
    mean: randomTensor([4], 3),
    variance: floatTensor([0.5, 1, 2, 3], [4]),
  }
  const withNorm = (after: NodeSpec[], outputs: string[]): Graph =>
    buildGraph({
      inputs: { x: [1, 4, 9, 9] },
      weights: {
        w: randomTensor([4, 4, 3, 3], 4),
        ...norm,
        w2: randomTensor([4, 4, 1, 1], 5),
        half: floatTensor([0.5], [1]),
      },
      nodes: [
        {
          op: 'Conv',
          name: 'conv',
          inputs: ['x', 'w'],
          outputs: ['c'],
          attributes: { pads: [1, 1, 1, 1], kernel_shape: [3, 3] },
        },
        { op: 'BatchNormalization', name: 'norm', inputs: ['c', 'scale', 'shift', 'mean', 'variance'], outputs: ['n'] },
        ...after,
      ],
      outputs,
    })

  test('takes BatchNorm, constants, dropout and a skip into one convolution', async () => {
    const graph = withNorm(
      [
        { op: 'Dropout', inputs: ['n'], outputs: ['d'] },
        { op: 'Mul', inputs: ['d', 'half'], outputs: ['m'] },
        { op: 'Add', name: 'sum', inputs: ['m', 'x'], outputs: ['s'] },
        { op: 'Relu', inputs: ['s'], outputs: ['y'] },
      ],
      ['y'],
    )
    const { graph: folded } = await foldOf(graph)
    expect(folded.nodes.map(({ opType }) => opType)).toEqual(['Conv', 'Relu'])
    expect(await differenceOf(graph, folded)).toBeLessThan(1e-5)
  })

  test('folds nothing more the second time', async () => {
    const once = (await foldOf(withNorm([{ op: 'Relu', inputs: ['n'], outputs: ['y'] }], ['y']))).graph
    const { graph: twice, report } = await foldOf(once)
    expect(twice).toBe(once)
    expect(report.fused).toEqual([])
  })

  test('leaves a convolution alone whose output two nodes read, or that is an output of the model', async () => {
    const twice: NodeSpec[] = [{ op: 'Add', inputs: ['n', 'c'], outputs: ['y'] }]
    expect((await foldOf(withNorm(twice, ['y']))).graph.nodes.map(({ opType }) => opType)).toContain(
      'BatchNormalization',
    )
    const shown = await foldOf(withNorm([{ op: 'Relu', inputs: ['n'], outputs: ['y'] }], ['y', 'c']))
    expect(shown.graph.nodes.map(({ opType }) => opType)).toContain('BatchNormalization')
  })

  test('removes a rectifier whose slope is nearly one, and keeps one below the threshold', async () => {
    const rectified = (alpha: number) =>
      withNorm(
        [
          { op: 'LeakyRelu', name: 'act', inputs: ['n'], outputs: ['r'], attributes: { alpha: { float: alpha } } },
          { op: 'Conv', name: 'point', inputs: ['r', 'w2'], outputs: ['y'], attributes: { kernel_shape: [1, 1] } },
        ],
        ['y'],
      )
    expect((await foldOf(rectified(0.95))).graph.nodes).toHaveLength(1)
    expect((await foldOf(rectified(0.5))).graph.nodes).toHaveLength(3)
  })

  test('keeps the names of outputs even where what makes them goes', async () => {
    const graph = withNorm([{ op: 'Identity', inputs: ['n'], outputs: ['y'] }], ['y'])
    const { graph: folded } = await foldOf(graph)
    expect(folded.nodes.map(({ outputs }) => outputs)).toEqual([['y']])
    expect(await differenceOf(graph, folded)).toBeLessThan(1e-5)
  })
})

function formOf(graph: Graph, name: string): ConvForm {
  const node = graph.nodes.find((each) => each.name === name)!
  const weight = graph.initializers.get(node.inputs[1]!)!
  const bias = node.inputs[2] ? graph.initializers.get(node.inputs[2]) : undefined
  const floats = (data: Uint8Array): Float64Array => Float64Array.from(new Float32Array(new Uint8Array(data).buffer))
  const ints = (key: string): number[] => node.attributes.get(key)!.ints.map(Number)
  const [outputs, per, ky, kx] = weight.dims as [number, number, number, number]
  const group = Number(node.attributes.get('group')!.i)
  return {
    weight: floats(weight.data),
    outputs,
    inputs: per * group,
    group,
    kernel: [ky, kx],
    strides: ints('strides') as unknown as Pair,
    dilations: ints('dilations') as unknown as Pair,
    pads: ints('pads') as unknown as ConvForm['pads'],
    bias: { kind: 'vector', values: bias === undefined ? new Float64Array(outputs) : floats(bias.data) },
    type: 1,
  }
}
