import { describeNode, intAttribute, intsAttribute } from '../graph/attributes.ts'
import { type ConvForm, hasNoBias } from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { freshName, type Graph, type Node } from '../graph/graph.ts'
import { floatTensor, sizeOf, type Tensor } from '../graph/tensor.ts'

export interface Fused {
  readonly nodes: readonly string[]
  readonly into: string
  readonly macsBefore: number
  readonly macsAfter: number
  /** A constant of the output's size is added, because padding makes borders differ. */
  readonly hasBorderMap: boolean
  /** The originals go on, over strips along the borders: the single one is right only inside. */
  readonly hasBorderStrips: boolean
}

/** A graph after a part of the folding; the same one where nothing was to be done. */
export interface Step {
  readonly graph: Graph
  readonly removed?: readonly string[]
  readonly fused?: readonly Fused[]
  /** Of values that are new. */
  readonly shapes?: Shapes
}

/** How many places a value of [N, C, H, W] has. */
export const placesOf = (shapes: Shapes, value: string): number => {
  const dims = shapes.get(value)!
  return dims[0]! * sizeOf(dims.slice(2))
}

/** From one member of a row to another, both included. */
export interface Segment {
  readonly from: number
  readonly to: number
}

/** Cut a row of `count` things so that the segments' costs add up to least; on a tie, into fewer. */
export function cheapestCuts(count: number, costOf: (segment: Segment) => number | undefined): Segment[] {
  const best: { cost: number; cuts: Segment[] }[] = [{ cost: 0, cuts: [] }]
  for (let to = 0; to < count; to++) {
    let found: { cost: number; cuts: Segment[] } | undefined
    for (let from = 0; from <= to; from++) {
      const own = costOf({ from, to })
      if (own === undefined) continue
      const before = best[from]!
      const cost = before.cost + own
      const cuts = [...before.cuts, { from, to }]
      if (found === undefined || cost < found.cost || (cost === found.cost && cuts.length < found.cuts.length))
        found = { cost, cuts }
    }
    best.push(found!)
  }
  return best.at(-1)!.cuts
}

/** A fused convolution as nodes; the last value keeps its name. @param dims Of the output. @param source Whose notes go on. */
export function toNodes(
  graph: Graph,
  form: ConvForm,
  {
    name,
    input,
    output,
    pending,
    dims,
    source,
  }: {
    name: string
    input: string
    output: string
    pending: ReadonlyMap<string, Tensor>
    dims: readonly number[]
    source: Node['source']
  },
): { nodes: Node[]; initializers: Map<string, Tensor>; shapes: Map<string, readonly number[]> } {
  const weightName = freshName(graph, `${name}.weight`, pending)
  const initializers = new Map([
    [
      weightName,
      floatTensor(form.weight, [form.outputs, form.inputs / form.group, form.kernel[0], form.kernel[1]], form.type),
    ],
  ])
  const hasVector = form.bias.kind === 'vector' && !hasNoBias(form)
  const inputs = [input, weightName]
  if (hasVector) {
    const biasName = freshName(graph, `${name}.bias`, pending)
    initializers.set(biasName, floatTensor(form.bias.values, [form.outputs], form.type))
    inputs.push(biasName)
  }
  const hasMap = form.bias.kind === 'map'
  const convolved = hasMap ? freshName(graph, `${output}.interior`) : output
  const attributes = [
    intsAttribute('dilations', form.dilations),
    intAttribute('group', form.group),
    intsAttribute('kernel_shape', form.kernel),
    intsAttribute('pads', form.pads),
    intsAttribute('strides', form.strides),
  ]
  const conv: Node = {
    name,
    opType: 'Conv',
    domain: '',
    inputs,
    outputs: [convolved],
    attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
    ...(source && { source }),
  }
  if (form.bias.kind !== 'map') return { nodes: [conv], initializers, shapes: new Map() }
  const mapName = freshName(graph, `${name}.map`, pending)
  const { height, width, values } = form.bias
  initializers.set(mapName, floatTensor(values, [1, form.outputs, height, width], form.type))
  const add: Node = {
    name: `${name}.border`,
    opType: 'Add',
    domain: '',
    inputs: [convolved, mapName],
    outputs: [output],
    attributes: new Map(),
  }
  return { nodes: [conv, add], initializers, shapes: new Map([[convolved, dims]]) }
}

/** Names of nodes -> why they stay apart. */
export type Refusals = Map<string, { readonly nodes: readonly string[]; readonly reason: string }>

export function refuse(refusals: Refusals, nodes: readonly Node[], reason: string): void {
  const names = nodes.map(describeNode)
  refusals.set(names.join(), { nodes: names, reason })
}

/** Rows of nodes of which each reads only the one before and is read only by the next. */
export function rowsOf<T extends object>(items: readonly T[], nextOf: (item: T) => T | undefined): T[][] {
  const following = new Set(items.map(nextOf).filter((item) => item !== undefined))
  return items
    .filter((item) => !following.has(item))
    .map((start) => {
      const row = [start]
      for (let next = nextOf(start); next !== undefined; next = nextOf(next)) row.push(next)
      return row
    })
}
