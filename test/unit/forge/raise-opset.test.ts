import type { Graph } from '@espalier/forge/graph/graph'
import { raiseOpset } from '@espalier/forge/graph/raise-opset'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, type GraphSpec, randomTensor } from './build-graph.ts'
import { randomNet } from './random-net.ts'

const raised = async (graph: Graph, wanted: number): Promise<Graph> =>
  raiseOpset(graph, wanted, await probeShapes(graph, 'test'))

const old: GraphSpec = {
  opset: 9,
  inputs: { x: [1, 4, 6, 6] },
  weights: { w: randomTensor([8, 4, 3, 3], 1), m: randomTensor([8, 5], 2) },
  nodes: [
    { op: 'Conv', inputs: ['x', 'w'], outputs: ['a'], attributes: { kernel_shape: [3, 3] } },
    { op: 'Clip', inputs: ['a'], outputs: ['b'], attributes: { min: { float: 0 }, max: { float: 1.5 } } },
    { op: 'Clip', inputs: ['b'], outputs: ['c'], attributes: { max: { float: 1 } } },
    { op: 'Dropout', inputs: ['c'], outputs: ['d'], attributes: { ratio: { float: 0.5 } } },
    { op: 'ReduceSum', inputs: ['d'], outputs: ['e'], attributes: { axes: [2], keepdims: 1 } },
    { op: 'Squeeze', inputs: ['e'], outputs: ['f'], attributes: { axes: [2] } },
    { op: 'Unsqueeze', inputs: ['f'], outputs: ['g'], attributes: { axes: [0] } },
    { op: 'ReduceMean', inputs: ['g'], outputs: ['h'], attributes: { axes: [0, 3], keepdims: 0 } },
    { op: 'Gemm', inputs: ['h', 'm', 'zero'], outputs: ['i'] },
    { op: 'Softmax', inputs: ['i'], outputs: ['y'] },
  ],
  outputs: ['y'],
}
const withBias = { ...old, weights: { ...old.weights, zero: floatTensor([0, 0, 0, 0, 0], [5]) } }

describe('raiseOpset()', () => {
  test('gives a model of the wanted opset that answers the same', async () => {
    const graph = buildGraph(withBias)
    for (const wanted of [11, 12, 13, 16, 17]) {
      const done = readModel(writeModel(await raised(graph, wanted)), 'raised')
      expect(done.opset).toBe(wanted)
      expect((await verify(graph, done, inputShapes(graph))).outputs.relative).toBe(0)
    }
  })

  test('takes random nets along', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const { spec } = randomNet(seed)
      if (spec.nodes.some(({ op }) => op === 'HardSwish')) continue
      const graph = buildGraph({ ...spec, opset: 11 })
      const done = await raised(graph, 17)
      expect((await verify(graph, done, inputShapes(graph), { runs: 1 })).outputs.relative).toBe(0)
    }
  })

  test('hands back a model that is as new already', async () => {
    const graph = buildGraph(randomNet(1).spec)
    expect(await raised(graph, 13)).toBe(graph)
  })

  test('names the first node that may mean another thing', async () => {
    const softmax = buildGraph({
      opset: 9,
      inputs: { x: [1, 2, 3] },
      nodes: [{ op: 'Softmax', name: 'both', inputs: ['x'], outputs: ['y'], attributes: { axis: 1 } }],
      outputs: ['y'],
    })
    await expect(raised(softmax, 13)).rejects.toThrow(
      'Cannot raise opset: Softmax "both" may mean another thing in opset 13 than in 9; convert the model first',
    )
    await expect(raised(softmax, 18)).rejects.toThrow(RangeError)
  })
})
