import { floatsOf, floatTensor, type Tensor } from '@espalier/forge/graph/tensor'
import { type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'
import { randomFrom } from './random-net.ts'

type Pair = readonly [number, number]

/** A random convolution, of asymmetric pads, groups, strides and dilations, with and without bias. */
function randomConv(seed: number, index: number, from: string, to: string, channels: Pair, isPadded: boolean) {
  const { below, pick } = randomFrom(seed * 31 + index)
  const group = pick([1, 1, 1, 2, 4])
  const [inputs, outputs] = channels
  const kernel: Pair = [1 + below(3), 1 + below(3)]
  const padding: NodeSpec['attributes'] = !isPadded
    ? {}
    : below(6) === 0
      ? { auto_pad: pick(['SAME_UPPER', 'SAME_LOWER', 'VALID']) }
      : { pads: [below(3), below(3), below(3), below(3)] }
  const node: NodeSpec = {
    op: 'Conv',
    name: `conv${index}`,
    inputs: below(3) ? [from, `w${index}`, `b${index}`] : [from, `w${index}`],
    outputs: [to],
    attributes: {
      kernel_shape: kernel,
      strides: [1 + below(3), 1 + below(2)],
      dilations: padding?.auto_pad === undefined ? [1 + below(2), 1 + below(2)] : [1, 1],
      group,
      ...padding,
    },
  }
  const weights = {
    [`w${index}`]: randomTensor([outputs, inputs / group, ...kernel], seed + index),
    [`b${index}`]: randomTensor([outputs], seed + 10 + index),
  }
  return { node, weights }
}

/** Two random convolutions in a row. */
export function randomConvPair(seed: number): GraphSpec {
  const { below } = randomFrom(seed)
  const [inputs, middle, outputs] = [4 * (1 + below(2)), 4 * (1 + below(3)), 4 * (1 + below(2))]
  const first = randomConv(seed, 1, 'x', 'h', [inputs, middle], below(2) === 0)
  const second = randomConv(seed, 2, 'h', 'y', [middle, outputs], below(2) === 0)
  return {
    inputs: { x: [1, inputs, 19 + below(6), 19 + below(6)] },
    weights: { ...first.weights, ...second.weights },
    nodes: [first.node, second.node],
    outputs: ['y'],
  }
}

/** One of the ways to write a matrix: Gemm of any kind, MatMul, MatMul and a sum; and what only scales after it. */
function randomMatrix(
  seed: number,
  index: number,
  from: string,
  to: string,
  [inputs, outputs]: Pair,
  isFirst: boolean,
) {
  const { below, pick } = randomFrom(seed * 37 + index)
  const [w, b, s] = [`w${index}`, `b${index}`, `s${index}`]
  const kind = pick(['gemm', 'gemm', 'matmul', 'sum'] as const)
  const transB = kind === 'gemm' ? below(2) : 0
  const transA = kind === 'gemm' && isFirst ? below(2) : 0
  const biasDims = pick([[outputs], [1, outputs], [1], []])
  const positive = floatsOf(randomTensor([outputs], seed + 20 + index), s).map((value) => Math.abs(value) + 0.5)
  const weights: Record<string, Tensor> = {
    [w]: randomTensor(transB ? [outputs, inputs] : [inputs, outputs], seed + index),
    [b]: randomTensor(kind === 'gemm' ? biasDims : [outputs], seed + 10 + index),
    [s]: floatTensor(positive, [outputs]),
  }
  const scaling = pick(['none', 'none', 'Mul', 'Div', 'Sub', 'BatchNormalization'] as const)
  const end = scaling === 'none' ? to : `${to}.unscaled`
  const name = `matrix${index}`
  const attributes = { transA, transB, alpha: { float: pick([1, 0.5, -2]) }, beta: { float: pick([1, 2, 0]) } }
  const nodes: NodeSpec[] =
    kind === 'gemm'
      ? [{ op: 'Gemm', name, inputs: below(3) ? [from, w, b] : [from, w], outputs: [end], attributes }]
      : kind === 'matmul'
        ? [{ op: 'MatMul', name, inputs: [from, w], outputs: [end] }]
        : [
            { op: 'MatMul', name, inputs: [from, w], outputs: [`${to}.product`] },
            { op: 'Add', name: `${name}.add`, inputs: [b, `${to}.product`], outputs: [end] },
          ]
  if (scaling === 'BatchNormalization')
    nodes.push({ op: scaling, name: `norm${index}`, inputs: [end, s, s, s, s], outputs: [to] })
  else if (scaling === 'Sub') nodes.push({ op: scaling, name: `scale${index}`, inputs: [s, end], outputs: [to] })
  else if (scaling !== 'none') nodes.push({ op: scaling, name: `scale${index}`, inputs: [end, s], outputs: [to] })
  return { nodes, weights, transA }
}

/** Two random matrices in a row. */
export function randomMatrixPair(seed: number): GraphSpec {
  const { below } = randomFrom(seed)
  const [rows, a, b, c] = [1 + below(3), 1 + below(6), 1 + below(12), 1 + below(6)]
  const first = randomMatrix(seed, 1, 'x', 'h', [a, b], true)
  const second = randomMatrix(seed, 2, 'h', 'y', [b, c], false)
  return {
    inputs: { x: first.transA ? [a, rows] : [rows, a] },
    weights: { ...first.weights, ...second.weights },
    nodes: [...first.nodes, ...second.nodes],
    outputs: ['y'],
  }
}

/** A sum of branches of one value, as RepVGG trains it: convolutions of other kernels, BatchNorm alone, the value itself. */
export function randomBranches(seed: number): GraphSpec {
  const { below, pick } = randomFrom(seed)
  const channels = pick([2, 4, 6])
  const stride = 1 + below(2)
  const group = pick([1, 1, 2])
  const weights: Record<string, Tensor> = {
    s: floatTensor(
      Array.from({ length: channels }, (_, i) => 0.5 + i / 4),
      [channels],
    ),
    t: randomTensor([channels], seed + 5),
  }
  const nodes: NodeSpec[] = []
  const conv = (index: number, kernel: Pair): string => {
    weights[`w${index}`] = randomTensor([channels, channels / group, ...kernel], seed + index)
    const pads = [(kernel[0] - 1) >> 1, (kernel[1] - 1) >> 1, kernel[0] >> 1, kernel[1] >> 1]
    nodes.push({
      op: 'Conv',
      name: `conv${index}`,
      inputs: below(2) ? ['x', `w${index}`, 't'] : ['x', `w${index}`],
      outputs: [`c${index}`],
      attributes: { kernel_shape: kernel, strides: [stride, stride], pads, group },
    })
    if (below(2)) return `c${index}`
    nodes.push({
      op: 'BatchNormalization',
      name: `norm${index}`,
      inputs: [`c${index}`, 's', 't', 't', 's'],
      outputs: [`n${index}`],
    })
    return `n${index}`
  }
  const branches = [
    conv(1, [pick([3, 5, 4]), 3]),
    conv(
      2,
      pick([
        [1, 1],
        [1, 3],
        [3, 3],
      ] as const),
    ),
  ]
  if (stride === 1 && below(3)) {
    if (below(2)) branches.push('x')
    else {
      nodes.push({ op: 'BatchNormalization', name: 'norm', inputs: ['x', 's', 't', 't', 's'], outputs: ['nx'] })
      branches.push('nx')
    }
  }
  const output = branches.reduce((left, right, i) => {
    nodes.push({ op: 'Add', name: `add${i}`, inputs: below(2) ? [left, right] : [right, left], outputs: [`a${i}`] })
    return `a${i}`
  })
  nodes.push({ op: 'Relu', name: 'relu', inputs: [output], outputs: ['y'] })
  return { inputs: { x: [1, channels, 9 + below(3), 10] }, weights, nodes, outputs: ['y'] }
}

/** A row of up to six linear operators: convolutions, BatchNorm, constants, zero padding and pools. */
export function randomRow(seed: number): GraphSpec {
  const { below, pick } = randomFrom(seed)
  let [at, channels] = ['x', 4]
  const weights: Record<string, Tensor> = {}
  const nodes: NodeSpec[] = []
  const length = 2 + below(5)
  for (let i = 0; i < length; i++) {
    const to = i === length - 1 ? 'y' : `v${i}`
    const kind = pick(['conv', 'conv', 'norm', 'scale', 'shift', 'pad', 'pool', 'depthwise'] as const)
    const name = `${kind}${i}`
    weights[`s${i}`] = floatTensor(
      Array.from({ length: channels }, (_, c) => 0.5 + c / 8),
      [channels],
    )
    weights[`t${i}`] = randomTensor([1, channels, 1, 1], seed + i)
    if (kind === 'conv' || kind === 'depthwise') {
      const outputs = kind === 'depthwise' ? channels : pick([2, 4, 8])
      const kernel = pick([1, 1, 3])
      const pad = kernel === 3 ? below(2) : 0
      weights[`w${i}`] = randomTensor([outputs, kind === 'depthwise' ? 1 : channels, kernel, kernel], seed + 50 + i)
      weights[`b${i}`] = randomTensor([outputs], seed + 70 + i)
      nodes.push({
        op: 'Conv',
        name,
        inputs: [at, `w${i}`, `b${i}`],
        outputs: [to],
        attributes: {
          kernel_shape: [kernel, kernel],
          pads: [pad, pad, pad, pad],
          group: kind === 'depthwise' ? channels : 1,
        },
      })
      channels = outputs
    } else if (kind === 'norm') {
      weights[`m${i}`] = randomTensor([channels], seed + 90 + i)
      nodes.push({
        op: 'BatchNormalization',
        name,
        inputs: [at, `s${i}`, `m${i}`, `m${i}`, `s${i}`],
        outputs: [to],
      })
    } else if (kind === 'pool')
      nodes.push({ op: 'AveragePool', name, inputs: [at], outputs: [to], attributes: { kernel_shape: [2, 2] } })
    else if (kind === 'pad')
      nodes.push({ op: 'Pad', name, inputs: [at], outputs: [to], attributes: { pads: [0, 0, 1, 0, 0, 0, 0, 1] } })
    else nodes.push({ op: kind === 'scale' ? 'Mul' : 'Add', name, inputs: [`t${i}`, at], outputs: [to] })
    at = to
  }
  // Pads were attributes up to opset 10.
  return { inputs: { x: [1, 4, 14, 15] }, weights, nodes, outputs: ['y'], opset: 10 }
}
