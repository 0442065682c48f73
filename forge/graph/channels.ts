import { intOf, intsOf, stringOf } from './attributes.ts'
import type { Shapes } from './cost.ts'
import { type Graph, type Node, namesRead } from './graph.ts'
import { ELEMENTWISE, NUMBERWISE } from './operator-kinds.ts'
import { reshapedAxis } from './reshaped-axis.ts'
import { floatsOf, integersOf, sizeOf } from './tensor.ts'

export { removeChannels } from './remove-channels.ts'

/** One row of one axis of an initializer: what goes when a channel goes. */
export interface Row {
  readonly tensor: string
  readonly axis: number
  readonly index: number
  /** Whether the row makes the channel, follows it, or reads it. */
  readonly role: 'makes' | 'follows' | 'reads'
  readonly node: Node
}

/** Channels that can only go together, because sums, depthwise filters, groups or shared readers tie them. */
export interface ChannelClass {
  readonly rows: readonly Row[]
  /** Why it must stay; undefined where it can go. */
  readonly locked: string | undefined
}

/** The channels of a value, and along which of its axes they lie. */
interface Placed {
  readonly axis: number
  readonly ids: Int32Array
}

/** Operators over places: the second axis of [N, C, ...] is left alone. */
const PLACEWISE = new Set(['MaxPool', 'AveragePool', 'LpPool', 'GlobalAveragePool', 'GlobalMaxPool', 'GlobalLpPool'])
/** Operators with one number a channel in these inputs. */
const BY_CHANNEL: Readonly<Record<string, readonly [from: number, to: number]>> = {
  BatchNormalization: [1, 5],
  InstanceNormalization: [1, 3],
}

const describe = ({ opType, name, outputs }: Node): string => `${opType} "${name || outputs[0]}"`

/** Channels of a whole graph, each known by a number; numbers that are tied share a class. */
export class Channels {
  readonly #parents: number[] = []
  readonly #rows: Row[][] = []
  readonly #locks: (string | undefined)[] = []
  readonly #values = new Map<string, Placed>()
  /** Values whose channels are not followed -> why. */
  readonly #opaque = new Map<string, string>()
  /** Reshapes that name a number of channels -> where in their shape. */
  readonly #reshapes = new Map<Node, number>()
  readonly #graph: Graph
  readonly #shapes: Shapes
  readonly #read: ReadonlySet<string>

  /** @param shapes Of every value; `graph` has no Constant nodes (`hoistConstants`). */
  constructor(graph: Graph, shapes: Shapes) {
    this.#graph = graph
    this.#shapes = shapes
    this.#read = new Set([...graph.nodes.flatMap(namesRead), ...graph.outputs.map(({ name }) => name)])
    for (const { name } of graph.inputs) this.#opaque.set(name, 'an input of the model')
    for (const node of graph.nodes) this.#visit(node)
    for (const { name } of graph.outputs) this.#lock(name, 'an output of the model')
    this.#lockShared()
  }

  /** A weight that two nodes read would lose its rows for both. */
  #lockShared(): void {
    const outputs = new Set(this.#graph.outputs.map(({ name }) => name))
    const readers = new Map<string, number>()
    for (const node of this.#graph.nodes)
      for (const name of new Set(namesRead(node))) readers.set(name, (readers.get(name) ?? 0) + 1)
    for (const [id, rows] of this.#rows.entries())
      for (const { tensor } of rows)
        if (readers.get(tensor)! > 1 || outputs.has(tensor))
          this.#locks[this.#root(id)] ??= `"${tensor}" has two readers`
  }

  /** The classes of a value's channels, in order; the same number means that they go together. */
  classesOf(value: string): number[] {
    return Array.from(this.#values.get(value)?.ids ?? [], (id) => this.#root(id))
  }

  /** Where the shape of a Reshape names a number of channels; undefined where it names none. */
  reshapeOf(node: Node): number | undefined {
    return this.#reshapes.get(node)
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

  #fresh(count: number, lock?: string): Int32Array {
    return Int32Array.from({ length: count }, () => {
      this.#parents.push(this.#parents.length)
      this.#rows.push([])
      this.#locks.push(lock)
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
    // One at a time: a class can have more rows than a call can have arguments.
    for (const row of this.#rows[y]!) this.#rows[x]!.push(row)
    this.#rows[y] = []
    this.#locks[x] ??= this.#locks[y]
  }

  #lock(value: string, reason: string): void {
    for (const id of this.#values.get(value)?.ids ?? []) this.#locks[this.#root(id)] ??= reason
  }

  #row(id: number, row: Row): void {
    this.#rows[this.#root(id)]!.push(row)
  }

  #rowsOf(ids: Int32Array, row: Omit<Row, 'index'>): void {
    for (const [index, id] of ids.entries()) this.#row(id, { ...row, index })
  }

  #dims(value: string): readonly number[] {
    return this.#shapes.get(value) ?? []
  }

  #constant(name: string | undefined) {
    return name ? this.#graph.initializers.get(name) : undefined
  }

  /** A value's channels along an axis; ones that must stay, where they are not followed or lie along another. */
  #along(value: string, axis: number): Int32Array {
    const placed = this.#values.get(value)
    if (placed?.axis === axis) return placed.ids
    this.#lock(value, `"${value}" is read along another axis`)
    return this.#fresh(this.#dims(value)[axis] ?? 0, this.#opaque.get(value) ?? `"${value}" is read along another axis`)
  }

  /** An operator of which nothing is known: what it reads must stay, what it makes too. */
  #unknown(node: Node): void {
    for (const name of namesRead(node)) this.#lock(name, `read by ${describe(node)}`)
    for (const name of node.outputs) this.#opaque.set(name, `made by ${describe(node)}`)
  }

  #visit(node: Node): void {
    const isPlain = node.domain === '' && node.outputs.slice(1).every((name) => !this.#read.has(name))
    if (!isPlain || !this.#follow(node)) this.#unknown(node)
  }

  /** @returns Whether what the operator does to channels is known. */
  #follow(node: Node): boolean {
    switch (node.opType) {
      case 'Conv':
        return this.#conv(node)
      case 'ConvTranspose':
        return this.#convTranspose(node)
      case 'Gemm':
      case 'MatMul':
        return this.#matrix(node)
      case 'Concat':
        return this.#concat(node)
      default:
    }
    if (ELEMENTWISE.has(node.opType)) return this.#elementwise(node)
    const [input, output] = [node.inputs[0] ?? '', node.outputs[0]!]
    const placed = this.#values.get(input)
    if (placed === undefined) {
      if (!NUMBERWISE.has(node.opType) || !this.#opaque.has(input)) return false
      this.#opaque.set(output, this.#opaque.get(input)!)
      return true
    }
    const after = this.#moved(node, placed)
    if (after === undefined) return false
    this.#values.set(output, after)
    const named = BY_CHANNEL[node.opType]
    if (named !== undefined)
      for (const tensor of node.inputs.slice(...named))
        this.#rowsOf(after.ids, { tensor, axis: 0, role: 'follows', node })
    return true
  }

  /** Where an operator of one input leaves the channels; undefined where it mixes them or is not known. */
  #moved(node: Node, placed: Placed): Placed | undefined {
    const { axis, ids } = placed
    const rank = this.#dims(node.inputs[0]!).length
    if (NUMBERWISE.has(node.opType)) return placed
    if (PLACEWISE.has(node.opType)) return axis === 1 ? placed : undefined
    if (BY_CHANNEL[node.opType] !== undefined) {
      const isConstant = node.inputs.slice(...BY_CHANNEL[node.opType]!).every((name) => this.#constant(name))
      return axis === 1 && isConstant ? placed : undefined
    }
    if (node.opType.startsWith('Reduce')) return this.#reduced(node, placed, rank)
    switch (node.opType) {
      case 'Flatten':
      case 'Reshape':
        return this.#reshaped(node, placed)
      case 'Transpose': {
        const reversed = Array.from({ length: rank }, (_, i) => rank - 1 - i)
        return { axis: intsOf(node, 'perm', reversed).indexOf(axis), ids }
      }
      case 'Squeeze': {
        const axes = this.#axesOf(node, rank)
        return axes && !axes.includes(axis) ? { axis: axis - axes.filter((a) => a < axis).length, ids } : undefined
      }
      case 'Unsqueeze': {
        const axes = this.#axesOf(node, this.#dims(node.outputs[0]!).length)?.sort((a, b) => a - b)
        return axes && { axis: axes.reduce((at, a) => (a <= at ? at + 1 : at), axis), ids }
      }
      case 'Pad': {
        const pads = this.#integers(node.inputs[1]) ?? intsOf(node, 'pads', [])
        return pads.length === 2 * rank && pads[axis] === 0 && pads[axis + rank] === 0 && !node.inputs[3]
          ? placed
          : undefined
      }
      case 'Resize': {
        const scales = this.#constant(node.inputs[2])
        const isKept = scales && sizeOf(scales.dims) === rank && floatsOf(scales, node.inputs[2]!)[axis] === 1
        const isPlain = stringOf(node, 'coordinate_transformation_mode', 'half_pixel') !== 'tf_crop_and_resize'
        return isKept && isPlain && !node.inputs[3] ? placed : undefined
      }
      default:
        return undefined
    }
  }

  #integers(name: string | undefined): number[] | undefined {
    const tensor = this.#constant(name)
    return tensor && integersOf(tensor, name!)
  }

  /** Axes as attribute or as input, counted from the front; undefined where none are given. */
  #axesOf(node: Node, rank: number): number[] | undefined {
    const axes = node.inputs[1] ? this.#integers(node.inputs[1]) : intsOf(node, 'axes', [])
    return axes === undefined || axes.length === 0 ? undefined : axes.map((axis) => (axis + rank) % rank)
  }

  #reduced(node: Node, { axis, ids }: Placed, rank: number): Placed | undefined {
    const axes = this.#axesOf(node, rank)
    if (axes === undefined || axes.includes(axis)) return undefined
    return { axis: intOf(node, 'keepdims', 1) === 1 ? axis : axis - axes.filter((a) => a < axis).length, ids }
  }

  #reshaped(node: Node, { axis, ids }: Placed): Placed | undefined {
    const found = reshapedAxis(this.#dims(node.inputs[0]!), this.#dims(node.outputs[0]!), axis)
    if (found === undefined) return undefined
    if (node.opType === 'Reshape') {
      const named = this.#integers(node.inputs[1])?.[found.axis]
      if (named === undefined || (named === 0 && (found.axis !== axis || found.each !== 1))) return undefined
      if (named > 0) this.#reshapes.set(node, found.axis)
    }
    const count = ids.length * found.each
    return { axis: found.axis, ids: Int32Array.from({ length: count }, (_, i) => ids[Math.floor(i / found.each)]!) }
  }

  #conv(node: Node): boolean {
    const [input, weight, bias] = node.inputs as [string, string, string?]
    const dims = this.#constant(weight)?.dims
    if (dims === undefined || (bias && this.#constant(bias) === undefined)) return false
    const [outputs, perGroup] = dims as [number, number]
    const group = intOf(node, 'group', 1)
    const read = this.#along(input, 1)
    // One input a group: its outputs, one or several, are its own.
    const isDepthwise = group > 1 && perGroup === 1
    const ids = isDepthwise
      ? Int32Array.from({ length: outputs }, (_, i) => read[Math.floor(i / (outputs / group))]!)
      : this.#fresh(outputs)
    const role = isDepthwise ? 'follows' : 'makes'
    this.#rowsOf(ids, { tensor: weight, axis: 0, role, node })
    if (bias) this.#rowsOf(ids, { tensor: bias, axis: 0, role: 'follows', node })
    if (!isDepthwise)
      for (const [i, id] of read.entries())
        this.#row(id, { tensor: weight, axis: 1, index: i % perGroup, role: 'reads', node })
    // Groups stay alike: the same place in each goes together.
    if (group > 1 && !isDepthwise) {
      const each = outputs / group
      for (let i = perGroup; i < read.length; i++) this.#tie(read[i % perGroup]!, read[i]!)
      for (let i = each; i < outputs; i++) this.#tie(ids[i % each]!, ids[i]!)
    }
    this.#values.set(node.outputs[0]!, { axis: 1, ids })
    return true
  }

  /** Weights of [inputs, outputs, ...]; groups are not followed. */
  #convTranspose(node: Node): boolean {
    const [input, weight, bias] = node.inputs as [string, string, string?]
    const dims = this.#constant(weight)?.dims
    if (dims === undefined || (bias && this.#constant(bias) === undefined) || intOf(node, 'group', 1) !== 1)
      return false
    const ids = this.#fresh(dims[1]!)
    this.#rowsOf(this.#along(input, 1), { tensor: weight, axis: 0, role: 'reads', node })
    this.#rowsOf(ids, { tensor: weight, axis: 1, role: 'makes', node })
    if (bias) this.#rowsOf(ids, { tensor: bias, axis: 0, role: 'follows', node })
    this.#values.set(node.outputs[0]!, { axis: 1, ids })
    return true
  }

  /** Gemm, and MatMul over the last axis of values of any rank. */
  #matrix(node: Node): boolean {
    const [input, weight, bias] = node.inputs as [string, string, string?]
    const dims = this.#constant(weight)?.dims
    const last = this.#dims(input).length - 1
    if (dims?.length !== 2 || last < 1 || this.#constant(input) || intOf(node, 'transA', 0) !== 0) return false
    const isTransposed = intOf(node, 'transB', 0) !== 0
    const outputs = dims[isTransposed ? 0 : 1]!
    const added = bias ? this.#constant(bias)?.dims : [1]
    if (added === undefined || (sizeOf(added) !== 1 && (added.at(-1) !== outputs || sizeOf(added) !== outputs)))
      return false
    const ids = this.#fresh(outputs)
    this.#rowsOf(this.#along(input, last), { tensor: weight, axis: isTransposed ? 1 : 0, role: 'reads', node })
    this.#rowsOf(ids, { tensor: weight, axis: isTransposed ? 0 : 1, role: 'makes', node })
    if (bias && added.at(-1) === outputs)
      this.#rowsOf(ids, { tensor: bias, axis: added.length - 1, role: 'follows', node })
    this.#values.set(node.outputs[0]!, { axis: last, ids })
    return true
  }

  #elementwise(node: Node): boolean {
    const [output] = node.outputs as [string]
    const dims = this.#dims(output)
    const varying = node.inputs.filter((name) => !this.#constant(name))
    /** Where an axis of the output lies in an operand: shapes are aligned at their ends. */
    const within = (name: string, axis: number): number => axis - (dims.length - this.#dims(name).length)
    const full = varying.flatMap((name) => {
      const placed = this.#values.get(name)
      const axis = placed && placed.axis + dims.length - this.#dims(name).length
      return placed !== undefined && dims[axis!] === placed.ids.length ? [{ axis: axis!, ids: placed.ids }] : []
    })[0]
    if (full === undefined) {
      const opaque = varying.map((name) => this.#opaque.get(name))
      if (opaque.length === 0 || opaque.includes(undefined)) return false
      this.#opaque.set(output, opaque[0]!)
      return true
    }
    for (const name of varying) {
      const [axis, own] = [within(name, full.axis), this.#values.get(name)]
      if (axis < 0 || this.#dims(name)[axis] !== full.ids.length) {
        // One number for all channels; its own channels, if it has any, lie along an axis that is not followed.
        if (own !== undefined && own.ids.length > 1) this.#lock(name, `read by ${describe(node)}`)
        continue
      }
      for (const [i, id] of this.#along(name, axis).entries()) this.#tie(full.ids[i]!, id)
    }
    this.#values.set(output, full)
    for (const name of node.inputs) {
      const tensor = this.#constant(name)
      const axis = within(name, full.axis)
      if (tensor === undefined || axis < 0 || tensor.dims[axis] === 1) continue
      this.#rowsOf(full.ids, { tensor: name, axis, role: 'follows', node })
    }
    return true
  }

  #concat(node: Node): boolean {
    const rank = this.#dims(node.outputs[0]!).length
    const along = (intOf(node, 'axis', 0) + rank) % rank
    const followed = node.inputs.map((name) => this.#values.get(name)).find((placed) => placed !== undefined)
    if (followed === undefined) return false
    if (followed.axis === along) {
      const ids = node.inputs.flatMap((name) => [...this.#along(name, along)])
      this.#values.set(node.outputs[0]!, { axis: along, ids: Int32Array.from(ids) })
      return true
    }
    // Side by side along another axis: each channel is that of all parts.
    if (node.inputs.some((name) => this.#constant(name))) return false
    for (const name of node.inputs)
      for (const [i, id] of this.#along(name, followed.axis).entries()) this.#tie(followed.ids[i]!, id)
    this.#values.set(node.outputs[0]!, followed)
    return true
  }
}
