import type { Tensor } from '@espalier/forge/graph/tensor'
import { floatsOf, floatTensor, int64Tensor, sizeOf } from '@espalier/forge/graph/tensor'
import { type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'

export interface Random {
  below(n: number): number
  pick<T>(values: readonly T[]): T
}

/** The same numbers for the same seed. */
export function randomFrom(seed: number): Random {
  let state = (seed * 2246822519 + 374761393) >>> 0
  const below = (n: number): number => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return (state >>> 8) % n
  }
  return { below, pick: (values) => values[below(values.length)]! }
}

const BLOCKS = [
  'conv',
  'residual',
  'depthwise',
  'multiplied',
  'grouped',
  'excite',
  'concat',
  'pool',
  'turned',
  'wider',
] as const
const ENDS = ['flatten', 'reshape', 'average', 'mean', 'convolution'] as const

/**
 * A small classifier of [1, 3, 8, 8] out of random blocks. Whatever makes a channel, zero weights make it zero all the
 * way to its readers: that is what pruning is compared with.
 */
export function randomNet(seed: number): { spec: GraphSpec; blocks: readonly string[] } {
  const { below, pick } = randomFrom(seed)
  const nodes: NodeSpec[] = []
  const weights: Record<string, Tensor> = {}
  let count = 0
  const put = (dims: readonly number[], scale = 1, shift = 0): string => {
    const name = `w${count++}`
    const values = floatsOf(randomTensor(dims, seed * 977 + count), name)
    weights[name] = floatTensor(
      values.map((value) => value * scale + shift),
      dims,
    )
    return name
  }
  const add = (op: string, inputs: readonly string[], attributes: NodeSpec['attributes'] = {}): string => {
    const out = `v${count++}`
    nodes.push({ op, name: `${op.toLowerCase()}${count}`, inputs, outputs: [out], attributes })
    return out
  }
  interface Value {
    readonly name: string
    readonly channels: number
    readonly size: number
  }
  const conv = (x: Value, channels: number, { kernel = 3, group = 1, pads = Math.floor(kernel / 2) } = {}): Value => {
    const dims = [channels, x.channels / group, kernel, kernel]
    const inputs = [x.name, put(dims, 1.5 / Math.sqrt(sizeOf(dims.slice(1))))]
    if (below(2)) inputs.push(put([channels], 0.3))
    const name = add('Conv', inputs, { kernel_shape: [kernel, kernel], pads: [pads, pads, pads, pads], group })
    return { name, channels, size: x.size + 2 * pads - kernel + 1 }
  }
  const norm = (x: Value): Value => {
    const inputs = [
      x.name,
      put([x.channels], 1),
      put([x.channels], 0.3),
      put([x.channels], 0.3),
      put([x.channels], 0.4, 1),
    ]
    return below(2) ? { ...x, name: add('BatchNormalization', inputs) } : x
  }
  const act = (x: Value): Value => ({ ...x, name: add(pick(['Relu', 'HardSwish', 'LeakyRelu']), [x.name]) })
  const build = (block: (typeof BLOCKS)[number], x: Value): Value => {
    switch (block) {
      case 'conv':
        return act(norm(conv(x, 4 * (1 + below(3)))))
      case 'wider':
        return act({ ...conv(x, 8), name: add('Mul', [conv(x, 8).name, put([8, 1, 1])]), channels: 8 })
      case 'residual': {
        const inner = act(norm(conv(x, 6)))
        return act({ ...x, name: add('Add', [norm(conv(inner, x.channels)).name, x.name]) })
      }
      case 'depthwise':
        return act(norm(conv(x, x.channels, { group: x.channels })))
      case 'multiplied':
        return act(conv(x, 2 * x.channels, { group: x.channels }))
      case 'grouped':
        return act(norm(conv(conv(x, 8, { kernel: 1 }), 12, { group: 4 })))
      case 'excite': {
        const squeezed = { ...x, name: add('GlobalAveragePool', [x.name]), size: 1 }
        const gate = conv(act(conv(squeezed, 4, { kernel: 1 })), x.channels, { kernel: 1 })
        return { ...x, name: add('Mul', [x.name, add(pick(['Sigmoid', 'HardSigmoid']), [gate.name])]) }
      }
      case 'concat': {
        const parts = [act(conv(x, 4)), conv(x, 6, { kernel: 1 }), x].slice(0, 2 + below(2))
        const channels = parts.reduce((sum, part) => sum + part.channels, 0)
        return {
          ...x,
          name: add(
            'Concat',
            parts.map(({ name }) => name),
            { axis: pick([1, -3]) },
          ),
          channels,
        }
      }
      case 'pool':
        if (x.size < 4) return x
        return {
          ...x,
          name: add(pick(['MaxPool', 'AveragePool']), [x.name], { kernel_shape: [2, 2], strides: [2, 2] }),
          size: Math.floor(x.size / 2),
        }
      case 'turned': {
        const inner = add('Transpose', [x.name], { perm: [0, 2, 3, 1] })
        const mixed = add('Relu', [add('Add', [add('MatMul', [inner, put([x.channels, 8], 0.5)]), put([8], 0.3)])])
        return { ...x, name: add('Transpose', [mixed], { perm: [0, 3, 1, 2] }), channels: 8 }
      }
    }
  }
  const first = pick(['conv', 'grouped', 'wider'] as const)
  // A grouped convolution needs channels of its own first.
  let x = act(norm(conv({ name: 'image', channels: 3, size: 8 }, 8)))
  const blocks: string[] = [first]
  x = build(first, x)
  for (let i = 0; i < 3; i++) {
    const block = pick(BLOCKS)
    blocks.push(block)
    x = build(block, x)
  }
  const end = pick(ENDS)
  blocks.push(end)
  const flat = x.channels * x.size ** 2
  const gemm = (input: string, width: number, outputs: number): string => {
    const transB = below(2)
    const bias = below(2) ? [put(below(2) ? [outputs] : [1, outputs], 0.3)] : []
    return add('Gemm', [input, put(transB ? [outputs, width] : [width, outputs], 1 / Math.sqrt(width)), ...bias], {
      transB,
    })
  }
  let out: string
  if (end === 'flatten') out = gemm(add('Relu', [gemm(add('Flatten', [x.name]), flat, 6)]), 6, 5)
  else if (end === 'reshape') {
    weights.shape = int64Tensor([pick([1, -1, 0]), flat])
    out = add('MatMul', [add('Reshape', [x.name, 'shape']), put([flat, 5], 1 / Math.sqrt(flat))])
  } else if (end === 'average') {
    weights.shape = int64Tensor([1, -1])
    out = gemm(add('Reshape', [add('GlobalAveragePool', [x.name]), 'shape']), x.channels, 5)
  } else if (end === 'mean') out = gemm(add('ReduceMean', [x.name], { axes: [2, -1], keepdims: 0 }), x.channels, 5)
  else out = conv(x, 5, { kernel: 1 }).name
  return { spec: { nodes, weights, inputs: { image: [1, 3, 8, 8] }, outputs: [out] }, blocks }
}
