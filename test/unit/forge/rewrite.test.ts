import { fromBinary } from '@bufbuild/protobuf'
import type { Graph } from '@espalier/forge/graph/graph'
import { ModelProtoSchema } from '@espalier/forge/graph/onnx_pb'
import { rewire, rewrite, sweep } from '@espalier/forge/graph/rewrite'
import { inputShapes, openRunner, probeShapes, randomFeeds } from '@espalier/forge/graph/run'
import { floatTensor, int64Tensor, TYPE } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { fold, hoistConstants } from '@espalier/forge/passes/fold'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type NodeSpec, randomTensor } from './build-graph.ts'
import { randomNet } from './random-net.ts'

const pass: NodeSpec = { op: 'Dropout', name: 'drop', inputs: ['a'], outputs: ['b', 'mask'] }
const net = (nodes: NodeSpec[], outputs: string[]): Graph =>
  buildGraph({ inputs: { x: [1, 2, 3, 3] }, nodes: [{ op: 'Neg', inputs: ['x'], outputs: ['a'] }, ...nodes], outputs })
const valuesOf = (graph: Graph): string[] => graph.nodes.flatMap(({ outputs }) => outputs).sort()

describe('a graph that nothing is done to', () => {
  test('is equal after a walk, and written byte for byte the same', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const graph = sweep(buildGraph(randomNet(seed).spec))
      const walked = rewrite(graph, { nodes: new Map(graph.nodes.map((node) => [node, [{ ...node }]])) })
      expect(walked).toEqual(graph)
      expect(Buffer.compare(writeModel(walked), writeModel(graph))).toBe(0)
      expect(rewire(graph, new Map()).nodes).toEqual(graph.nodes)
      expect(hoistConstants(graph)).toBe(graph)
    }
  })
})

describe('folding random nets', () => {
  test('keeps their outputs, names and inputs, and does nothing more the second time', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const graph = buildGraph(randomNet(seed).spec)
      const { graph: folded } = fold(graph, await probeShapes(graph, 'net'))
      const found = await verify(graph, folded, inputShapes(graph), { runs: 1 })
      for (const { relative } of [found.outputs, found.interior, found.border].filter((each) => each !== null))
        expect(relative, `seed ${seed}`).toBeLessThan(1e-4)
      expect(folded.outputs).toEqual(graph.outputs)
      expect(folded.inputs).toEqual(graph.inputs)
      const names = new Set(graph.nodes.map(({ name }) => name))
      for (const { name } of folded.nodes)
        expect(names, `seed ${seed}`).toContain(name.replace(/\.(border|add|join|band\d)$/, ''))
      expect(fold(folded, await probeShapes(folded, 'net')).graph).toBe(folded)
    }
  })
})

describe('rewire', () => {
  test('gives the name of an output to what takes its place', () => {
    const graph = rewire(net([pass], ['b']), new Map([['b', 'a']]))
    expect(graph.nodes).toMatchObject([{ opType: 'Neg', outputs: ['b'] }])
  })

  test('keeps a node whose other outputs are read, and makes no value twice', async () => {
    const split: NodeSpec = { op: 'Split', inputs: ['a', 'sizes'], outputs: ['p', 'q'], attributes: { axis: 1 } }
    const before = buildGraph({
      inputs: { x: [1, 2, 3, 3] },
      weights: { sizes: int64Tensor([1, 1]) },
      nodes: [{ op: 'Neg', inputs: ['x'], outputs: ['a'] }, split, { op: 'Relu', inputs: ['q'], outputs: ['r'] }],
      outputs: ['p', 'r'],
    })
    const graph = rewire(before, new Map([['p', 'a']]))
    expect(new Set(valuesOf(graph)).size).toBe(valuesOf(graph).length)
    const found = await (await openRunner(graph, 'net')).run(randomFeeds(inputShapes(graph)))
    expect([found.p!.dims, found.r!.dims]).toEqual([
      [1, 2, 3, 3],
      [1, 1, 3, 3],
    ])
  })

  test('copies where an output would be an input, or two outputs one value', async () => {
    const straight = rewire(
      buildGraph({ inputs: { x: [2] }, nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }], outputs: ['y'] }),
      new Map([['y', 'x']]),
    )
    expect(straight.nodes).toMatchObject([{ opType: 'Identity', inputs: ['x'], outputs: ['y'] }])
    const both = rewire(
      net([pass, { op: 'Relu', inputs: ['b'], outputs: ['c'] }], ['b', 'c']),
      new Map([
        ['b', 'a'],
        ['c', 'b'],
      ]),
    )
    expect(valuesOf(both)).toEqual(['b', 'c'])
    await probeShapes(both, 'net')
  })
})

describe('constants', () => {
  const constant = (attributes: NodeSpec['attributes'], to: string): NodeSpec => ({
    op: 'Constant',
    inputs: [],
    outputs: [to],
    ...(attributes && { attributes }),
  })

  test('of every spelling and copies of them become initializers, and the outputs stay', async () => {
    const graph = buildGraph({
      inputs: { x: [1, 2, 3, 3] },
      weights: { one: floatTensor([1], []) },
      nodes: [
        constant({ value_float: { float: 0.5 } }, 'half'),
        constant({ value_ints: [1, -1] }, 'shape'),
        { op: 'Identity', inputs: ['one'], outputs: ['copy'] },
        { op: 'Identity', inputs: ['copy'], outputs: ['again'] },
        { op: 'Mul', inputs: ['x', 'half'], outputs: ['a'] },
        { op: 'Add', inputs: ['a', 'again'], outputs: ['b'] },
        { op: 'Reshape', inputs: ['b', 'shape'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    const hoisted = hoistConstants(graph)
    expect(hoisted.nodes.map(({ opType }) => opType)).toEqual(['Mul', 'Add', 'Reshape'])
    expect(hoisted.initializers.get('shape')!.type).toBe(TYPE.INT64)
    expect((await verify(graph, hoisted, inputShapes(graph))).outputs.relative).toBe(0)
    expect(hoistConstants(hoisted)).toBe(hoisted)
  })

  test('stay where they are an output of the model', () => {
    const graph = buildGraph({
      inputs: { x: [2] },
      nodes: [constant({ value_int: 3 }, 'three'), { op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y', 'three'],
    })
    expect(hoistConstants(graph)).toBe(graph)
  })
})

describe('writing', () => {
  test('leaves shapes of values out once a weight has another one', () => {
    const graph = buildGraph({
      inputs: { x: [1, 2, 3, 3] },
      weights: { w: randomTensor([4, 2, 1, 1], 1), v: randomTensor([2, 4, 1, 1], 2) },
      nodes: [
        { op: 'Conv', inputs: ['x', 'w'], outputs: ['h'] },
        { op: 'Conv', inputs: ['h', 'v'], outputs: ['y'] },
      ],
      outputs: ['y'],
    })
    graph.model.graph!.valueInfo.push({ ...graph.model.graph!.input[0]!, name: 'h' })
    const shapesOf = (each: Graph): string[] =>
      fromBinary(ModelProtoSchema, writeModel(each)).graph!.valueInfo.map(({ name }) => name)
    expect(shapesOf(graph)).toEqual(['h'])
    const initializers = new Map([
      ['w', randomTensor([3, 2, 1, 1], 1)],
      ['v', randomTensor([2, 3, 1, 1], 2)],
    ])
    expect(shapesOf(rewrite(graph, { initializers }))).toEqual([])
  })
})

describe('verify', () => {
  const twice = (factor: number): Graph =>
    buildGraph({
      inputs: { x: [1, 2, 3, 3] },
      weights: { f: floatTensor([factor], []) },
      nodes: [
        { op: 'Mul', inputs: ['x', 'f'], outputs: ['y'] },
        { op: 'Sqrt', inputs: ['y'], outputs: ['s'] },
        { op: 'ArgMax', inputs: ['y'], outputs: ['most'], attributes: { axis: 3 } },
      ],
      outputs: ['y', 's', 'most'],
    })

  test('compares whole numbers too, and what is no number in both is the same', async () => {
    const graph = twice(2)
    const inputs = inputShapes(graph)
    expect((await verify(graph, twice(2), inputs)).outputs.relative).toBe(0)
    // Roots of negative numbers are none, in both or in one alone.
    expect((await verify(graph, twice(-2), inputs)).outputs).toEqual({ relative: Number.POSITIVE_INFINITY, value: 's' })
    const only = (each: Graph): Graph => ({ ...each, outputs: each.outputs.filter(({ name }) => name === 'most') })
    expect((await verify(only(graph), only(twice(-2)), inputs)).outputs.relative).toBeGreaterThan(0.4)
    expect((await verify(only(graph), only(twice(3)), inputs)).outputs.relative).toBe(0)
  })

  test('says which output has another shape', async () => {
    const shape = (axis: number): Graph =>
      buildGraph({
        inputs: { x: [1, 2, 3, 3] },
        nodes: [{ op: 'ArgMax', inputs: ['x'], outputs: ['y'], attributes: { axis } }],
        outputs: ['y'],
      })
    await expect(verify(shape(1), shape(3), inputShapes(shape(1)))).rejects.toThrow(
      /"y" is 1 x 2 x 3 x 1, expected 1 x 1 x 3 x 3/,
    )
  })
})
