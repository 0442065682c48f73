import { intAttribute, intOf, intsOf } from './attributes.ts'
import type { Shapes } from './cost.ts'
import type { Graph, Node } from './graph.ts'
import { rewrite } from './rewrite.ts'
import { int64Tensor, integersOf, sizeOf, type Tensor } from './tensor.ts'

/** One row of one axis of an initializer: what goes when a channel goes. */
export interface Row {
  readonly tensor: string
  readonly axis: number
  readonly index: number
  /** Whether the row makes the channel, follows it, or reads it. */
  readonly role: 'makes' | 'follows' | 'reads'
  readonly node: Node
}

/** Channels that can only go together, because sums, depthwise filters or shared readers tie them. */
export interface ChannelClass {
  readonly rows: readonly Row[]
  /** Why it must stay; undefined where it can go. */
  readonly locked: string | undefined
}

/** Operators that keep each channel to itself, whatever they compute. */
const CHANNELWISE = new Set([
  'Relu',
  'LeakyRelu',
  'Elu',
  'Selu',
  'Celu',
  'Clip',
  'Sigmoid',
  'HardSigmoid',
  'HardSwish',
  'Tanh',
  'Softplus',
  'Softsign',
  'Mish',
  'Gelu',
  'Erf',
  'Sqrt',
  'Exp',
  'Log',
  'Abs',
  'Neg',
  'Identity',
  'Dropout',
  'Cast',
  'Floor',
  'Ceil',
  'Round',
  'MaxPool',
  'AveragePool',
  'LpPool',
  'GlobalAveragePool',
  'GlobalMaxPool',
  'InstanceNormalization',
]) // prettier-ignore
const ELEMENTWISE = new Set(['Add', 'Sub', 'Mul', 'Div', 'Pow', 'Min', 'Max', 'PRelu'])

/** Channels of a whole graph, each known by a number; numbers that are tied share a class. */
export class Channels {
  readonly #parents: number[] = []
  readonly #rows: Row[][] = []
  readonly #locks: (string | undefined)[] = []
  /** Value name -> the number of each of its channels. */
  readonly #values = new Map<string, Int32Array>()
  readonly #graph: Graph
  readonly #shapes: Shapes

  /** @param shapes Of every value. */
  constructor(graph: Graph, shapes: Shapes) {
    this.#graph = graph
    this.#shapes = shapes
    for (const { name } of graph.inputs) {
      this.#define(name, this.#fresh(this.#countOf(name)))
      this.#lock(name, 'an input of the model')
    }
    for (const node of graph.nodes) this.#visit(node)
    for (const { name } of graph.outputs) this.#lock(name, 'an output of the model')
    this.#lockShared()
  }

  /** A weight that two nodes read would lose its rows for both. */
  #lockShared(): void {
    const readers = new Map<string, Node>()
    const shared = new Set<string>()
    for (const rows of this.#rows)
      for (const { tensor, node } of rows) {
        if ((readers.get(tensor) ?? node) !== node) shared.add(tensor)
        readers.set(tensor, node)
      }
    for (const [id, rows] of this.#rows.entries())
      for (const { tensor } of rows)
        if (shared.has(tensor)) this.#locks[this.#root(id)] ??= `"${tensor}" has two readers`
  }

  /** The classes of a value's channels, in order; the same number means that they go together. */
  classesOf(value: string): number[] {
    return Array.from(this.#values.get(value) ?? [], (id) => this.#root(id))
  }

  classOf(id: number): ChannelClass {
    const root = this.#root(id)
    return { rows: this.#rows[root]!, locked: this.#locks[root] }
  }

  /** All classes that some row makes. */
  get ids(): number[] {
    return this.#parents.flatMap((_, id) =>
      this.#root(id) === id && this.#rows[id]!.some(({ role }) => role === 'makes') ? [id] : [],
    )
  }

  #countOf(name: string): number {
    return this.#shapes.get(name)?.[1] ?? 0
  }

  #fresh(count: number): Int32Array {
    return Int32Array.from({ length: count }, () => {
      this.#parents.push(this.#parents.length)
      this.#rows.push([])
      this.#locks.push(undefined)
      return this.#parents.length - 1
    })
  }

  #root(id: number): number {
    let at = id
    while (this.#parents[at] !== at) at = this.#parents[at] = this.#parents[this.#parents[at]!]!
    return at
  }

  #tie(a: number, b: number): void {
    const [x, y] = [this.#root(a), this.#root(b)]
    if (x === y) return
    this.#parents[y] = x
    this.#rows[x]!.push(...this.#rows[y]!)
    this.#locks[x] ??= this.#locks[y]
  }

  #define(value: string, ids: Int32Array): void {
    this.#values.set(value, ids)
  }

  #lock(value: string, reason: string): void {
    for (const id of this.#values.get(value) ?? []) this.#locks[this.#root(id)] ??= reason
  }

  #row(id: number, row: Row): void {
    this.#rows[this.#root(id)]!.push(row)
  }

  /** An operator of which nothing is known: what it reads must stay, what it makes too. */
  #unknown(node: Node): void {
    const reason = `read by ${node.opType} "${node.name || node.outputs[0]}"`
    for (const name of node.inputs) this.#lock(name, reason)
    for (const name of node.outputs) {
      if (name === '') continue
      this.#define(name, this.#fresh(this.#countOf(name)))
      this.#lock(name, `made by ${node.opType} "${node.name || node.outputs[0]}"`)
    }
  }

  #visit(node: Node): void {
    const [first] = node.inputs
    const input = first === undefined ? undefined : this.#values.get(first)
    const [out] = node.outputs as [string]
    if (node.domain !== '' || (input === undefined && !ELEMENTWISE.has(node.opType) && node.opType !== 'Concat')) {
      this.#unknown(node)
      return
    }
    if (node.opType === 'Conv') this.#conv(node, input!)
    else if (node.opType === 'Gemm' || node.opType === 'MatMul') this.#matrix(node, input!)
    else if (node.opType === 'BatchNormalization') {
      this.#define(out, input!)
      for (const tensor of node.inputs.slice(1, 5)) this.#follow(node, tensor, 0, input!)
    } else if (CHANNELWISE.has(node.opType)) {
      this.#define(out, input!)
    } else if (node.opType === 'ReduceMean' && this.#reducesPlaces(node)) {
      this.#define(out, input!)
    } else if (ELEMENTWISE.has(node.opType)) this.#elementwise(node)
    else if (node.opType === 'Concat' && intOf(node, 'axis', 0) === 1) this.#concat(node)
    else if ((node.opType === 'Flatten' && intOf(node, 'axis', 1) === 1) || node.opType === 'Reshape')
      this.#flatten(node, input!)
    else if (node.opType === 'Squeeze' && this.#shapes.get(out)?.[1] === input!.length) this.#define(out, input!)
    else this.#unknown(node)
  }

  #follow(node: Node, tensor: string, axis: number, ids: Int32Array): void {
    for (const [index, id] of ids.entries()) this.#row(id, { tensor, axis, index, role: 'follows', node })
  }

  #conv(node: Node, input: Int32Array): void {
    const [, weight, bias] = node.inputs as [string, string, string?]
    const dims = this.#graph.initializers.get(weight)?.dims
    const group = intOf(node, 'group', 1)
    if (dims === undefined || (bias && !this.#graph.initializers.has(bias))) {
      this.#unknown(node)
      return
    }
    const [outputs, perGroup] = dims as [number, number]
    const isDepthwise = group > 1 && group === outputs && perGroup === 1
    if (group !== 1 && !isDepthwise) {
      this.#unknown(node)
      return
    }
    const ids = isDepthwise ? input : this.#fresh(outputs)
    this.#define(node.outputs[0]!, ids)
    const role = isDepthwise ? 'follows' : 'makes'
    for (const [index, id] of ids.entries()) {
      this.#row(id, { tensor: weight, axis: 0, index, role, node })
      if (bias) this.#row(id, { tensor: bias, axis: 0, index, role: 'follows', node })
    }
    if (!isDepthwise)
      for (const [index, id] of input.entries()) this.#row(id, { tensor: weight, axis: 1, index, role: 'reads', node })
  }

  #matrix(node: Node, input: Int32Array): void {
    const [first, weight, bias] = node.inputs as [string, string, string?]
    const dims = this.#graph.initializers.get(weight)?.dims
    const isVector = this.#shapes.get(first)?.length === 2 && intOf(node, 'transA', 0) === 0
    const biasDims = bias ? this.#graph.initializers.get(bias)?.dims : undefined
    if (dims?.length !== 2 || !isVector || (bias && biasDims?.length !== 1)) {
      this.#unknown(node)
      return
    }
    const isTransposed = intOf(node, 'transB', 0) !== 0
    const ids = this.#fresh(dims[isTransposed ? 0 : 1]!)
    this.#define(node.outputs[0]!, ids)
    for (const [index, id] of input.entries())
      this.#row(id, { tensor: weight, axis: isTransposed ? 1 : 0, index, role: 'reads', node })
    for (const [index, id] of ids.entries()) {
      this.#row(id, { tensor: weight, axis: isTransposed ? 0 : 1, index, role: 'makes', node })
      if (bias && biasDims![0] === ids.length) this.#row(id, { tensor: bias, axis: 0, index, role: 'follows', node })
    }
  }

  #reducesPlaces(node: Node): boolean {
    const listed = node.inputs[1] ? this.#graph.initializers.get(node.inputs[1]) : undefined
    const axes = listed === undefined ? intsOf(node, 'axes', []) : integersOf(listed, node.inputs[1]!)
    const rank = this.#shapes.get(node.inputs[0]!)?.length ?? 0
    return axes.length > 0 && axes.every((axis) => (axis + rank) % rank >= 2)
  }

  #elementwise(node: Node): void {
    const [out] = node.outputs as [string]
    const channels = this.#countOf(out)
    const rank = this.#shapes.get(out)?.length ?? 0
    const varying = node.inputs.filter((name) => !this.#graph.initializers.has(name))
    const known = varying.map((name) => this.#values.get(name))
    // Broadcasting by channel: either as many or a single one that all others share.
    if (
      known.some((ids) => ids === undefined) ||
      varying.some((name) => this.#shapes.get(name)?.length !== rank) ||
      rank < 2
    ) {
      this.#unknown(node)
      return
    }
    const full = known.filter((ids) => ids!.length === channels) as Int32Array[]
    if (full.length === 0) {
      this.#unknown(node)
      return
    }
    this.#define(out, full[0]!)
    for (const ids of full.slice(1)) for (const [i, id] of ids.entries()) this.#tie(full[0]![i]!, id)
    for (const name of node.inputs) {
      const tensor = this.#graph.initializers.get(name)
      if (tensor === undefined || sizeOf(tensor.dims) === 1) continue
      const axis = tensor.dims.length - (rank - 1)
      if (axis >= 0 && tensor.dims[axis] === channels) this.#follow(node, name, axis, full[0]!)
      else if (axis >= 0 && tensor.dims[axis] !== 1) this.#lock(out, `a constant of ${node.opType} "${node.name}"`)
    }
  }

  #concat(node: Node): void {
    const parts = node.inputs.map((name) => this.#values.get(name))
    if (parts.some((ids) => ids === undefined)) {
      this.#unknown(node)
      return
    }
    this.#define(node.outputs[0]!, Int32Array.from(parts.flatMap((ids) => [...ids!])))
  }

  /** [N, C, H, W] -> [N, C H W], each channel's places one after another; nothing else of Reshape. */
  #flatten(node: Node, input: Int32Array): void {
    const [before, after] = [this.#shapes.get(node.inputs[0]!), this.#shapes.get(node.outputs[0]!)]
    const isFlat =
      before !== undefined && after?.length === 2 && after[0] === before[0] && after[1] === sizeOf(before.slice(1))
    if (!isFlat || (node.opType === 'Reshape' && !this.#graph.initializers.has(node.inputs[1]!))) {
      this.#unknown(node)
      return
    }
    const each = after![1]! / input.length
    this.#define(
      node.outputs[0]!,
      Int32Array.from({ length: after![1]! }, (_, i) => input[Math.floor(i / each)]!),
    )
  }
}

function removeRows({ type, dims, data }: Tensor, axis: number, gone: ReadonlySet<number>): Tensor {
  const outer = sizeOf(dims.slice(0, axis))
  const inner = data.length / sizeOf(dims.slice(0, axis + 1))
  const kept = Array.from({ length: dims[axis]! }, (_, i) => i).filter((i) => !gone.has(i))
  const out = new Uint8Array(outer * kept.length * inner)
  let to = 0
  for (let o = 0; o < outer; o++)
    for (const i of kept) {
      const from = (o * dims[axis]! + i) * inner
      out.set(data.subarray(from, from + inner), to)
      to += inner
    }
  return { type, dims: dims.map((dim, i) => (i === axis ? kept.length : dim)), data: out }
}

/**
 * Take channels out of a graph: their rows in every weight, and the counts that name them.
 *
 * @param gone Classes of `channels`, none of them locked.
 */
export function removeChannels(graph: Graph, channels: Channels, gone: ReadonlySet<number>): Graph {
  const rows = new Map<string, Map<number, Set<number>>>()
  for (const id of gone)
    for (const { tensor, axis, index } of channels.classOf(id).rows) {
      const axes = rows.get(tensor) ?? new Map<number, Set<number>>()
      axes.set(axis, (axes.get(axis) ?? new Set()).add(index))
      rows.set(tensor, axes)
    }
  const initializers = new Map<string, Tensor>()
  for (const [name, axes] of rows) {
    let tensor = graph.initializers.get(name)!
    for (const [axis, indices] of axes) tensor = removeRows(tensor, axis, indices)
    initializers.set(name, tensor)
  }
  const nodes = new Map<Node, readonly Node[]>()
  for (const node of graph.nodes) {
    const weight = initializers.get(node.inputs[1] ?? '')
    const group = intOf(node, 'group', 1)
    if (node.opType === 'Conv' && group > 1 && weight !== undefined)
      nodes.set(node, [
        { ...node, attributes: new Map([...node.attributes, ['group', intAttribute('group', weight.dims[0]!)]]) },
      ])
    const shape = node.opType === 'Reshape' ? graph.initializers.get(node.inputs[1]!) : undefined
    if (shape !== undefined && channels.classesOf(node.inputs[0]!).some((id) => gone.has(id))) {
      const name = `${node.outputs[0]}.shape`
      initializers.set(name, int64Tensor([integersOf(shape, node.inputs[1]!)[0]!, -1]))
      nodes.set(node, [{ ...node, inputs: [node.inputs[0]!, name] }])
    }
  }
  return rewrite(graph, { nodes, initializers })
}
