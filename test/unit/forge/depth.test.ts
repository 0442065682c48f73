import { depthOf } from '@espalier/forge/graph/depth'
import { timeModels } from '@espalier/forge/measure/time-models'
import { ModelError } from '@espalier/shared/errors'
import { describe, expect, test } from 'vitest'
import { buildGraph, type NodeSpec, randomTensor } from './build-graph.ts'

const conv = (input: string, output: string): NodeSpec => ({
  op: 'Conv',
  inputs: [input, 'w'],
  outputs: [output],
  attributes: { kernel_shape: [1, 1] },
})

const graphOf = (nodes: readonly NodeSpec[], output: string) =>
  buildGraph({
    inputs: { x: [1, 4, 8, 8] },
    outputs: [output],
    weights: { w: randomTensor([4, 4, 1, 1], 1) },
    nodes,
  })

describe('depthOf()', () => {
  test('counts the layers of the longest way, not of all', () => {
    const branch = [conv('x', 'a'), conv('a', 'b'), conv('x', 'c')]
    expect(depthOf(graphOf([...branch, { op: 'Add', inputs: ['b', 'c'], outputs: ['y'] }], 'y'))).toBe(2)
  })

  test('does not count what has no weights', () => {
    const rectified = [conv('x', 'a'), { op: 'Relu', inputs: ['a'], outputs: ['b'] }, conv('b', 'y')]
    expect(depthOf(graphOf(rectified, 'y'))).toBe(2)
    expect(depthOf(graphOf([{ op: 'Relu', inputs: ['x'], outputs: ['y'] }], 'y'))).toBe(0)
  })

  test('counts a layer whose weights come through a cast', () => {
    const nodes: NodeSpec[] = [
      { op: 'Cast', inputs: ['w'], outputs: ['wide'], attributes: { to: 1 } },
      { ...conv('x', 'y'), inputs: ['x', 'wide'] },
    ]
    expect(depthOf(graphOf(nodes, 'y'))).toBe(1)
  })

  test('does not count products of two values that both vary', () => {
    const product = [{ op: 'MatMul', inputs: ['x', 'x'], outputs: ['y'] }]
    expect(depthOf(graphOf(product, 'y'))).toBe(0)
  })
})

describe('timeModels()', () => {
  test('gives every model a time, and the first the ratio 1', async () => {
    const short = graphOf([conv('x', 'y')], 'y')
    const long = graphOf([conv('x', 'a'), conv('a', 'b'), conv('b', 'y')], 'y')
    const steps: number[] = []
    const found = await timeModels([short, long], {
      backend: 'wasm',
      rounds: 3,
      onProgress: (done) => steps.push(done),
    })
    expect(found).toHaveLength(2)
    expect(found[0]!.ratio).toBe(1)
    for (const { medianMs, p10Ms, p90Ms } of found) {
      expect(p10Ms).toBeGreaterThan(0)
      expect(medianMs).toBeGreaterThanOrEqual(p10Ms)
      expect(p90Ms).toBeGreaterThanOrEqual(medianMs)
    }
    expect(steps).toEqual([1, 2, 3])
  })

  test('refuses a graph that the runtime refuses', async () => {
    const broken = graphOf([{ op: 'NoSuchOperator', inputs: ['x'], outputs: ['y'] }], 'y')
    await expect(timeModels([broken], { backend: 'wasm', rounds: 1 })).rejects.toThrow(ModelError)
  })
})
