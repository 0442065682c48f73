import { floatTensor, int64Tensor, type Tensor } from '@espalier/forge/graph/tensor'
import { type GraphSpec, type NodeSpec, randomTensor } from './build-graph.ts'

export interface VitOptions {
  /** What the answer is read from: the class token, the mean of all tokens, or that of all but the class token. */
  readonly head?: 'class' | 'mean' | 'patches'
  readonly hasClassToken?: boolean
  readonly blocks?: number
  readonly opset?: number
  /** Queries, keys and values out of one matrix, as in timm. */
  readonly isFused?: boolean
  readonly seed?: number
}

export const WIDTH = 12
export const HEADS = 2
/** Patches of [1, 3, 8, 8], two by two. */
export const PATCHES = 16
export const CLASSES = 5

/** A vision transformer of random weights, with the nodes that exporters write. */
export function tinyVit({
  head = 'class',
  hasClassToken = true,
  blocks = 3,
  opset = 17,
  isFused = false,
  seed = 1,
}: VitOptions = {}): GraphSpec & { weights: Record<string, Tensor> } {
  const nodes: NodeSpec[] = []
  const weights: Record<string, Tensor> = {}
  const tokens = PATCHES + (hasClassToken ? 1 : 0)
  const each = WIDTH / HEADS
  let count = 0
  const weight = (name: string, dims: readonly number[]): string => {
    weights[name] = randomTensor(dims, seed * 1000 + count++)
    return name
  }
  const put = (name: string, tensor: Tensor): string => {
    weights[name] = tensor
    return name
  }
  const add = (op: string, inputs: readonly string[], out: string, attributes: NodeSpec['attributes'] = {}): string => {
    nodes.push({ op, name: out, inputs, outputs: [out], attributes })
    return out
  }
  const linear = (x: string, name: string, from: number, to: number): string =>
    add(
      'Add',
      [add('MatMul', [x, weight(`${name}.w`, [from, to])], `${name}.product`), weight(`${name}.b`, [to])],
      name,
    )
  const norm = (x: string, name: string): string => {
    const [scale, shift] = [weight(`${name}.scale`, [WIDTH]), weight(`${name}.shift`, [WIDTH])]
    if (opset >= 17) return add('LayerNormalization', [x, scale, shift], name)
    const centred = add('Sub', [x, add('ReduceMean', [x], `${name}.mean`, { axes: [-1] })], `${name}.centred`)
    const squared = add('Pow', [centred, put(`${name}.two`, floatTensor([2], []))], `${name}.squared`)
    const variance = add('ReduceMean', [squared], `${name}.variance`, { axes: [-1] })
    const shifted = add('Add', [variance, put(`${name}.epsilon`, floatTensor([1e-5], []))], `${name}.shifted`)
    const unit = add('Div', [centred, add('Sqrt', [shifted], `${name}.deviation`)], `${name}.unit`)
    return add('Add', [add('Mul', [unit, scale], `${name}.scaled`), shift], name)
  }
  /** [1, heads, tokens, each], and keys with the last two turned. */
  const queriesKeysValues = (x: string, name: string): [string, string, string] => {
    if (isFused) {
      const shape = put(`${name}.shape`, int64Tensor([1, tokens, 3, HEADS, each]))
      const all = add('Reshape', [linear(x, `${name}.qkv`, WIDTH, 3 * WIDTH), shape], `${name}.parts`)
      const turned = add('Transpose', [all], `${name}.turned`, { perm: [2, 0, 3, 1, 4] })
      const [q, k, v] = ['q', 'k', 'v'].map((part, i) =>
        add('Gather', [turned, put(`${name}.${part}.index`, int64Tensor([i], []))], `${name}.${part}`),
      ) as [string, string, string]
      return [q, add('Transpose', [k], `${name}.keys`, { perm: [0, 1, 3, 2] }), v]
    }
    const shape = put(`${name}.shape`, int64Tensor([1, tokens, HEADS, each]))
    const part = (key: string, perm: readonly number[]): string =>
      add(
        'Transpose',
        [add('Reshape', [linear(x, `${name}.${key}`, WIDTH, WIDTH), shape], `${name}.${key}.heads`)],
        `${name}.${key}.turned`,
        { perm },
      )
    return [part('q', [0, 2, 1, 3]), part('k', [0, 2, 3, 1]), part('v', [0, 2, 1, 3])]
  }
  const kernel = weight('patch.w', [WIDTH, 3, 2, 2])
  const map = add('Conv', ['image', kernel, weight('patch.b', [WIDTH])], 'map', {
    kernel_shape: [2, 2],
    strides: [2, 2],
  })
  const flat = add('Reshape', [map, put('flat.shape', int64Tensor([1, WIDTH, -1]))], 'flat')
  let x = add('Transpose', [flat], 'patches', { perm: [0, 2, 1] })
  if (hasClassToken) x = add('Concat', [weight('class', [1, 1, WIDTH]), x], 'tokens', { axis: 1 })
  x = add('Add', [x, weight('positions', [1, tokens, WIDTH])], 'embedded')
  for (let block = 0; block < blocks; block++) {
    const name = `block${block}`
    const [q, k, v] = queriesKeysValues(norm(x, `${name}.norm1`), name)
    const scale = put(`${name}.scale`, floatTensor([each ** -0.5], []))
    const scores = add('Mul', [add('MatMul', [q, k], `${name}.scores`), scale], `${name}.scaled`)
    const shares = add('Softmax', [scores], `${name}.shares`, { axis: -1 })
    const mixed = add('Transpose', [add('MatMul', [shares, v], `${name}.mixed`)], `${name}.back`, {
      perm: [0, 2, 1, 3],
    })
    const joined = add('Reshape', [mixed, put(`${name}.joined`, int64Tensor([1, tokens, WIDTH]))], `${name}.flat`)
    const sum = add('Add', [x, linear(joined, `${name}.out`, WIDTH, WIDTH)], `${name}.sum`)
    const hidden = add('Relu', [linear(norm(sum, `${name}.norm2`), `${name}.up`, WIDTH, 2 * WIDTH)], `${name}.hidden`)
    x = add('Add', [sum, linear(hidden, `${name}.down`, 2 * WIDTH, WIDTH)], `${name}.end`)
  }
  x = norm(x, 'norm')
  if (head === 'patches') {
    const bounds = [1, 2 ** 31 - 1, 1].map((value, i) => put(`cut${i}`, int64Tensor([value])))
    x = add('Slice', [x, ...bounds], 'cut')
  }
  const pooled =
    head === 'class'
      ? add('Gather', [x, put('first', int64Tensor([0], []))], 'pooled', { axis: 1 })
      : add('ReduceMean', [x], 'pooled', { axes: [1], keepdims: 0 })
  const out = add('Gemm', [pooled, weight('head.w', [WIDTH, CLASSES]), weight('head.b', [CLASSES])], 'logits')
  return { nodes, weights, inputs: { image: [1, 3, 8, 8] }, outputs: [out], opset }
}
