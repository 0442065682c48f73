import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { type ConvForm, chain, whyNotChain } from '@espalier/forge/graph/conv-form'
import { totalCost } from '@espalier/forge/graph/cost'
import { toConvNode } from '@espalier/forge/graph/forms'
import type { Graph } from '@espalier/forge/graph/graph'
import { ModelProtoSchema, StringStringEntryProtoSchema } from '@espalier/forge/graph/onnx_pb'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, probeShapes, withShapes } from '@espalier/forge/graph/run'
import { floatsOf, floatTensor, TYPE } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { fold } from '@espalier/forge/passes/fold'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'
import { randomBranches, randomConvPair, randomMatrixPair, randomRow } from './random-pairs.ts'

const foldOf = async (graph: Graph) => fold(graph, await probeShapes(graph, 'test'))
const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { runs: 1, withInner: false })).outputs.relative

/** Fold graphs of many seeds, count what became of them, and hold every one against the runtime. */
async function fuzz(makeSpec: (seed: number) => GraphSpec, seeds: number, what: string) {
  const reasons = new Map<string, number>()
  let [fused, worst, maps, strips] = [0, 0, 0, 0]
  for (let seed = 1; seed <= seeds; seed++) {
    const graph = buildGraph(makeSpec(seed))
    const { graph: folded, report } = await foldOf(graph)
    if (report.fused.length === 0) {
      const reason = (report.refused[0]?.reason ?? 'no row').replace(/\d+(,\d+)+|\d+( x \d+)?/g, 'n')
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
      continue
    }
    fused++
    if (report.fused.some(({ hasBorderMap }) => hasBorderMap)) maps++
    if (report.fused.some(({ hasBorderStrips }) => hasBorderStrips)) strips++
    for (const { macsBefore, macsAfter } of report.fused)
      expect(macsAfter, `seed ${seed}`).toBeLessThanOrEqual(macsBefore)
    const difference = await differenceOf(graph, folded)
    worst = Math.max(worst, difference)
    expect(difference, `seed ${seed}`).toBeLessThan(1e-4)
    if (seed % 10 === 0) expect((await foldOf(folded)).graph, `seed ${seed}`).toBe(folded)
  }
  process.stdout.write(
    `${fused} of ${seeds} ${what} folded, ${maps} with a border map, ${strips} with strips; largest difference ${worst.toExponential(1)}; refused: ${JSON.stringify(Object.fromEntries(reasons))}\n`,
  )
  return { fused, maps, strips, silent: reasons.get('no row') ?? 0 }
}

describe('fold', () => {
  test('random pairs of convolutions give the outputs of the original, borders included, or are refused with the reason', {
    timeout: 240_000,
  }, async () => {
    const { fused, maps, strips, silent } = await fuzz(randomConvPair, 2000, 'pairs of convolutions')
    expect(fused).toBeGreaterThan(400)
    expect(maps).toBeGreaterThan(5)
    expect(strips).toBeGreaterThan(20)
    expect(silent).toBe(0)
  })

  test('random pairs of matrices, however they are written, give the outputs of the original', async () => {
    expect((await fuzz(randomMatrixPair, 400, 'pairs of matrices')).fused).toBeGreaterThan(200)
  })

  test('random sums of branches become one convolution', async () => {
    const { fused } = await fuzz(randomBranches, 200, 'sums of branches')
    expect(fused).toBeGreaterThan(180)
  })

  test('random rows of convolutions, norms, constants, padding and pools give the outputs of the original', async () => {
    expect((await fuzz(randomRow, 250, 'rows')).fused).toBeGreaterThan(150)
  })

  test('the arithmetic is exact wherever the gate would also let it through', async () => {
    // The gate refuses most pairs as too dear; here cost does not count.
    let checked = 0
    for (let seed = 1; seed <= 400; seed++) {
      const spec = randomConvPair(seed)
      const graph = buildGraph(spec)
      const shapes = await probeShapes(graph, 'test')
      const [first, second] = graph.nodes.map((node) => toConvNode(graph, node, shapes)!.form) as [ConvForm, ConvForm]
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

  const conv = (name: string, from: string, to: string, weight: string, pad: number, bias?: string): NodeSpec => ({
    op: 'Conv',
    name,
    inputs: bias === undefined ? [from, weight] : [from, weight, bias],
    outputs: [to],
    attributes: { pads: [pad, pad, pad, pad] },
  })
  /** Few channels, many, few: one 5 x 5 kernel does what two padded 3 x 3 do, but for the ring. */
  const wide = (size: readonly number[], opset = 17): GraphSpec => ({
    inputs: { x: size },
    weights: {
      w1: randomTensor([24, 3, 3, 3], 1),
      b1: randomTensor([24], 2),
      w2: randomTensor([3, 24, 3, 3], 3),
      b2: randomTensor([3], 4),
    },
    nodes: [conv('one', 'x', 'h', 'w1', 1, 'b1'), conv('two', 'h', 'y', 'w2', 1, 'b2')],
    outputs: ['y'],
    opset,
  })

  test('recomputes the ring that padding changes, where one kernel inside and both around it multiply less', async () => {
    for (const opset of [9, 10, 17]) {
      const graph = buildGraph(wide([1, 3, 20, 23], opset))
      const { graph: folded, report } = await foldOf(graph)
      expect(report.fused).toMatchObject([{ nodes: ['Conv "one"', 'Conv "two"'], hasBorderStrips: true }])
      expect(report.fused[0]!.macsAfter).toBeLessThan(0.6 * report.fused[0]!.macsBefore)
      expect(totalCost(folded, await probeShapes(folded, 'test')).macs).toBe(report.fused[0]!.macsAfter)
      const { border, interior, outputs } = await verify(graph, folded, inputShapes(graph))
      for (const found of [border, interior, outputs]) expect(found!.relative).toBeLessThan(1e-5)
      const twice = await foldOf(folded)
      expect(twice.graph).toBe(folded)
    }
  })

  test('names the multiplications where the ring would cost too much', async () => {
    const { report } = await foldOf(buildGraph(wide([1, 3, 4, 4])))
    expect(report.fused).toEqual([])
    expect(report.refused[0]!.reason).toMatch(/padded by 1,1,1,1 after a 3 x 3 kernel.*multiply no less: \d+ -> \d+/)
  })

  test('folds nothing that holds at one size alone into a model that leaves its size open', async () => {
    const given = new Map([['x', [1, 3, 20, 23]]])
    const padded = buildGraph(wide([1, 3, -1, -1]))
    const { graph: folded, report } = fold(padded, await probeShapes(padded, 'test', given))
    expect(folded).toBe(padded)
    expect(report.refused[0]!.reason).toMatch(/leaves its size open/)
    const mapped = buildGraph({
      ...wide([1, 3, -1, -1]),
      weights: { ...wide([]).weights, w1: randomTensor([24, 3, 1, 1], 1) },
      nodes: [conv('one', 'x', 'h', 'w1', 0, 'b1'), conv('two', 'h', 'y', 'w2', 1, 'b2')],
    })
    expect(fold(mapped, await probeShapes(mapped, 'test', given)).report.refused[0]!.reason).toMatch(
      /constant of one size/,
    )
    const fixed = withShapes(mapped, inputShapes(mapped, given))
    expect((await foldOf(fixed)).report.fused).toMatchObject([{ hasBorderMap: true }])
  })

  test('takes BatchNorm into Gemm and MatMul', async () => {
    const graph = buildGraph({
      inputs: { x: [3, 4] },
      weights: { w: randomTensor([4, 4], 1), ...norm },
      nodes: [
        { op: 'MatMul', name: 'first', inputs: ['x', 'w'], outputs: ['a'] },
        { op: 'BatchNormalization', inputs: ['a', 'scale', 'shift', 'mean', 'variance'], outputs: ['n'] },
        { op: 'Relu', inputs: ['n'], outputs: ['r'] },
        { op: 'Gemm', name: 'second', inputs: ['r', 'w'], outputs: ['g'] },
        { op: 'BatchNormalization', inputs: ['g', 'scale', 'shift', 'mean', 'variance'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    const { graph: folded } = await foldOf(graph)
    expect(folded.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Add', 'Relu', 'Gemm'])
    expect(await differenceOf(graph, folded)).toBeLessThan(1e-5)
  })

  test('does not take a bias that differs from row to row for one by column', async () => {
    const graph = buildGraph({
      inputs: { x: [3, 4] },
      weights: { w1: randomTensor([4, 8], 1), w2: randomTensor([8, 3], 2), rows: randomTensor([3, 1], 3) },
      nodes: [
        { op: 'Gemm', inputs: ['x', 'w1'], outputs: ['h'] },
        { op: 'Gemm', inputs: ['h', 'w2', 'rows'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    expect(await differenceOf(graph, (await foldOf(graph)).graph)).toBeLessThan(1e-5)
  })

  test('leaves a slope alone that is as far above one', async () => {
    const rectified = (alpha: number) =>
      withNorm(
        [{ op: 'LeakyRelu', name: 'act', inputs: ['n'], outputs: ['y'], attributes: { alpha: { float: alpha } } }],
        ['y'],
      )
    expect((await foldOf(rectified(1.05))).report.removed).toEqual(['LeakyRelu "act"'])
    expect((await foldOf(rectified(3))).report.removed).toEqual([])
  })

  test('drops a dropout that also makes a mask, at the end too', async () => {
    const graph = withNorm([{ op: 'Dropout', name: 'drop', inputs: ['n'], outputs: ['y', 'mask'] }], ['y'])
    const { graph: folded } = await foldOf(graph)
    expect(folded.nodes.map(({ opType }) => opType)).toEqual(['Conv'])
    expect(await differenceOf(graph, folded)).toBeLessThan(1e-5)
    const shown = withNorm([{ op: 'Dropout', name: 'drop', inputs: ['n'], outputs: ['y', 'mask'] }], ['y', 'mask'])
    expect((await foldOf(shown)).graph.nodes.map(({ opType }) => opType)).toContain('Dropout')
  })

  test('leaves operators of another domain alone, whatever they are called', () => {
    const graph = buildGraph({
      inputs: { x: [1, 4, 9, 9] },
      nodes: [{ op: 'Identity', domain: 'vendor', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    })
    const shapes = new Map([
      ['x', [1, 4, 9, 9]],
      ['y', [1, 4, 9, 9]],
    ])
    expect(fold(graph, shapes).graph).toBe(graph)
  })

  test('keeps metadata of the model and the notes of the node whose name goes on', async () => {
    const model = fromBinary(ModelProtoSchema, writeModel(withNorm([], ['n'])))
    model.metadataProps.push(create(StringStringEntryProtoSchema, { key: 'licence', value: 'MIT' }))
    model.graph!.node[0]!.docString = 'from the paper'
    const graph = readModel(toBinary(ModelProtoSchema, model), 'model')
    const written = fromBinary(ModelProtoSchema, writeModel((await foldOf(graph)).graph))
    expect(written.metadataProps.map(({ key }) => key)).toEqual(['licence'])
    expect(written.graph!.node).toMatchObject([{ name: 'conv', docString: 'from the paper', output: ['n'] }])
  })

  test('gives the same graph back where there is nothing to fold', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 4, 9, 9] },
      nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    })
    expect((await foldOf(graph)).graph).toBe(graph)
  })

  test('folds models of every opset from 7 to 26, in half precision too', async () => {
    const norms = { op: 'BatchNormalization', inputs: ['c', 's', 'b', 'b', 's'], outputs: ['n'] }
    const made = (type: number, opset: number): Graph =>
      buildGraph({
        inputs: { x: [1, 3, 6, 6] },
        types: { x: type },
        weights: Object.fromEntries(
          Object.entries({ w: [4, 3, 3, 3], s: [4], b: [4], v: [3, 4, 1, 1] }).map(([name, dims], i) => {
            const values = floatsOf(randomTensor(dims, i + 1), name)
            return [name, floatTensor(name === 's' ? values.map((v) => Math.abs(v) + 0.5) : values, dims, type)]
          }),
        ),
        nodes: [conv('one', 'x', 'c', 'w', 1), norms, conv('two', 'n', 'y', 'v', 0)],
        outputs: ['y'],
        opset,
      })
    for (let opset = 7; opset <= 26; opset++) {
      const graph = made(TYPE.FLOAT, opset)
      const { graph: folded } = await foldOf(graph)
      expect(folded.nodes, `opset ${opset}`).toHaveLength(1)
      expect(await differenceOf(graph, folded), `opset ${opset}`).toBeLessThan(1e-5)
    }
    const half = made(TYPE.FLOAT16, 17)
    const { graph: folded } = await foldOf(half)
    expect([...folded.initializers.values()].map(({ type }) => type)).toEqual([TYPE.FLOAT16, TYPE.FLOAT16])
    expect(await differenceOf(half, folded)).toBeLessThan(5e-3)
  })

  test('folds matrices in double precision', async () => {
    const wide = (dims: readonly number[], seed: number) =>
      floatTensor(floatsOf(randomTensor(dims, seed), 'w'), dims, TYPE.DOUBLE)
    const graph = buildGraph({
      inputs: { x: [2, 3] },
      types: { x: TYPE.DOUBLE },
      weights: { w: wide([3, 8], 1), v: wide([8, 2], 2) },
      nodes: [
        { op: 'Gemm', inputs: ['x', 'w'], outputs: ['h'] },
        { op: 'Gemm', inputs: ['h', 'v'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    const { graph: folded } = await foldOf(graph)
    expect(folded.nodes).toHaveLength(1)
    expect(await differenceOf(graph, folded)).toBeLessThan(1e-12)
  })

  test('says that the runtime cannot run a convolution in double precision', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 1, 4, 4] },
      types: { x: TYPE.DOUBLE },
      weights: { w: floatTensor([1], [1, 1, 1, 1], TYPE.DOUBLE) },
      nodes: [conv('one', 'x', 'y', 'w', 0)],
      outputs: ['y'],
    })
    await expect(foldOf(graph)).rejects.toThrow(/^Cannot run model "test".*Conv.*'one'/)
  })
})
