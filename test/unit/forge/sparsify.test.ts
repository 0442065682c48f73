import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Graph } from '@espalier/forge/graph/graph'
import { ModelProtoSchema, SparseTensorProtoSchema, TypeProtoSchema } from '@espalier/forge/graph/onnx_pb'
import { readModel } from '@espalier/forge/graph/read'
import { inputShapes } from '@espalier/forge/graph/run'
import { fromSparseProto, toSparseProto } from '@espalier/forge/graph/sparse'
import { floatsOf, floatTensor, int64Tensor, TYPE, toProto } from '@espalier/forge/graph/tensor'
import { writeModel } from '@espalier/forge/graph/write'
import { sparsify } from '@espalier/forge/passes/sparsify'
import { verify } from '@espalier/forge/passes/verify'
import { describe, expect, test } from 'vitest'
import { buildGraph, buildModel, randomTensor } from './build-graph.ts'

const differenceOf = async (before: Graph, after: Graph): Promise<number> =>
  (await verify(before, after, inputShapes(before), { runs: 1, withInner: false })).outputs.relative

/** A convolution of 1728 weights and a matrix of 640. */
const net = () =>
  buildGraph({
    inputs: { x: [1, 12, 6, 6] },
    weights: {
      kernel: randomTensor([16, 12, 3, 3], 1),
      shift: randomTensor([16], 2),
      matrix: randomTensor([16, 40], 3),
    },
    nodes: [
      { op: 'Conv', inputs: ['x', 'kernel', 'shift'], outputs: ['h'], attributes: { kernel_shape: [3, 3] } },
      { op: 'GlobalAveragePool', inputs: ['h'], outputs: ['g'] },
      { op: 'Flatten', inputs: ['g'], outputs: ['f'] },
      { op: 'MatMul', inputs: ['f', 'matrix'], outputs: ['y'] },
    ],
    outputs: ['y'],
  })

/** A matrix of 64 x 64 of which the first `count` numbers are not zero. */
const withNumbers = (count: number, type: typeof TYPE.FLOAT | typeof TYPE.FLOAT16 = TYPE.FLOAT) =>
  floatTensor(
    Array.from({ length: 4096 }, (_, i) => (i < count ? i + 1 : 0)),
    [64, 64],
    type,
  )

describe('a tensor without its zeros', () => {
  test('comes back with them', () => {
    for (const type of [TYPE.FLOAT, TYPE.FLOAT16] as const) {
      const tensor = withNumbers(100, type)
      expect(fromSparseProto(toSparseProto('w', tensor)!)).toEqual({ ...tensor, isSparse: true })
    }
  })

  test('is kept only where it is smaller: float32 below a third, float16 below a fifth', () => {
    const most = (type: typeof TYPE.FLOAT | typeof TYPE.FLOAT16): number => {
      let [low, high] = [1, 4096]
      while (high - low > 1) {
        const middle = (low + high) >> 1
        if (toSparseProto('w', withNumbers(middle, type)) === undefined) high = middle
        else low = middle
      }
      return low
    }
    const [wide, narrow] = [most(TYPE.FLOAT), most(TYPE.FLOAT16)]
    expect(wide / 4096).toBeCloseTo(1 / 3, 2)
    expect(narrow / 4096).toBeCloseTo(1 / 5, 2)
    const sizes = [wide, wide + 8].map((count) => {
      const graph = buildGraph({
        inputs: { x: [1, 64] },
        weights: { w: withNumbers(count) },
        nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
        outputs: ['y'],
      })
      const dense = writeModel(graph).length
      const sparse = { ...graph, initializers: new Map([['w', { ...withNumbers(count), isSparse: true }]]) }
      return writeModel(sparse).length - dense
    })
    expect(sizes[0]).toBeLessThan(0)
    expect(sizes[1]).toBe(0)
  })

  test('may have one coordinate for each axis, as other tools write it', () => {
    const proto = create(SparseTensorProtoSchema, {
      values: toProto('w', floatTensor([5, 7], [2])),
      indices: toProto('', int64Tensor([0, 2, 1, 0], [2, 2])),
      dims: [2n, 3n],
    })
    expect([...floatsOf(fromSparseProto(proto), 'w')]).toEqual([0, 0, 5, 7, 0, 0])
  })

  test('is refused where its coordinates do not fit, or a few bytes would claim all memory', () => {
    const proto = (indices: number[], dims: bigint[]) =>
      create(SparseTensorProtoSchema, {
        values: toProto('w', floatTensor([5, 7], [2])),
        indices: toProto('', int64Tensor(indices)),
        dims,
      })
    expect(() => fromSparseProto(proto([0, 6], [2n, 3n]))).toThrow(
      'Cannot read sparse tensor "w": found a value at 6, expected 0 to 5',
    )
    expect(() => fromSparseProto(proto([-1, 0], [2n, 3n]))).toThrow(/found a value at -1/)
    expect(() => fromSparseProto(proto([0], [2n, 3n]))).toThrow(/found 1 indices, expected 2/)
    expect(() => fromSparseProto(proto([0, 1], [1n << 20n, 1n << 20n]))).toThrow(/found shape 1048576 x 1048576/)
    expect(() => fromSparseProto(proto([0, 1], [-2n, 3n]))).toThrow(/found shape -2 x 3/)
    expect(() => fromSparseProto(create(SparseTensorProtoSchema, {}))).toThrow(/found no values/)
  })
})

describe('sparsify()', () => {
  test('sets exactly the smallest weights of all layers to zero', () => {
    const graph = net()
    const { graph: done, report } = sparsify(graph, 0.5)
    expect(report.zeros).toBe(1184)
    expect(report.weights).toBe(2368)
    const of = (g: Graph) => ['kernel', 'matrix'].flatMap((name) => [...floatsOf(g.initializers.get(name)!, name)])
    const [before, left] = [of(graph), of(done)]
    const gone = before.filter((_, i) => left[i] === 0).map(Math.abs)
    const kept = left.filter((value) => value !== 0).map(Math.abs)
    expect(Math.max(...gone)).toBeLessThan(Math.min(...kept))
    expect(left.every((value, i) => value === 0 || value === before[i])).toBe(true)
    expect(done.initializers.get('shift')).toEqual(graph.initializers.get('shift'))
  })

  test('writes a smaller file that onnxruntime opens and that answers as the same weights in full', async () => {
    const { graph: done, report } = sparsify(net(), 0.9)
    expect(report.sparse).toEqual(['kernel', 'matrix'])
    const bytes = writeModel(done)
    expect(report.bytes).toMatchObject({ sparse: bytes.length, dense: expect.any(Number) })
    expect(bytes.length).toBeLessThan(0.4 * report.bytes.dense)
    const full = new Map([...done.initializers].map(([name, { isSparse: _, ...tensor }]) => [name, tensor]))
    expect(await differenceOf({ ...done, initializers: full }, done)).toBe(0)
    const read = readModel(bytes, 'sparse')
    expect(Buffer.compare(writeModel(read), bytes)).toBe(0)
    expect(await differenceOf(done, read)).toBe(0)
  })

  test('stores nothing sparsely that would grow', () => {
    const { graph: done, report } = sparsify(net(), 0.5)
    expect(report.sparse).toEqual([])
    expect(report.bytes.sparse).toBe(report.bytes.dense)
    expect(fromBinary(ModelProtoSchema, writeModel(done)).graph!.sparseInitializer).toEqual([])
  })

  test('changes nothing the second time, nor at a ratio of 0', async () => {
    const once = sparsify(net(), 0.8).graph
    expect(Buffer.compare(writeModel(sparsify(once, 0.8).graph), writeModel(once))).toBe(0)
    const graph = net()
    expect(Buffer.compare(writeModel(sparsify(graph, 0).graph), writeModel(graph))).toBe(0)
  })

  test('keeps element types', () => {
    const graph = net()
    const half = floatTensor(floatsOf(graph.initializers.get('matrix')!, 'matrix'), [16, 40], TYPE.FLOAT16)
    const mixed = { ...graph, initializers: new Map([...graph.initializers, ['matrix', half]]) }
    expect(sparsify(mixed, 0.9).graph.initializers.get('matrix')!.type).toBe(TYPE.FLOAT16)
  })

  test('takes weights off the list of inputs where an old model lists them, and says that its format is newer', async () => {
    const model = fromBinary(
      ModelProtoSchema,
      buildModel({
        inputs: { x: [1, 64] },
        weights: { w: randomTensor([64, 64], 1) },
        nodes: [{ op: 'MatMul', inputs: ['x', 'w'], outputs: ['y'] }],
        outputs: ['y'],
        opset: 9,
      }),
    )
    model.irVersion = 3n
    model.graph!.input.push({ ...model.graph!.input[0]!, name: 'w', type: create(TypeProtoSchema) })
    const { graph: done } = sparsify(readModel(toBinary(ModelProtoSchema, model), 'old'), 0.9)
    const written = fromBinary(ModelProtoSchema, writeModel(done))
    expect(written.irVersion).toBe(6n)
    expect(written.graph!.input.map(({ name }) => name)).toEqual(['x'])
    const full = new Map([...done.initializers].map(([name, { isSparse: _, ...tensor }]) => [name, tensor]))
    expect(await differenceOf({ ...done, initializers: full }, done)).toBe(0)
  })

  test('refuses a ratio that is no share, and a model without weights', () => {
    expect(() => sparsify(net(), 1)).toThrow(RangeError)
    const empty = buildGraph({
      inputs: { x: [1, 2] },
      nodes: [{ op: 'Relu', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    })
    expect(() => sparsify(empty, 0.5)).toThrow(/no convolution or matrix/)
  })
})
