import { describeNode, floatOf, intAttribute, intsAttribute } from '../graph/attributes.ts'
import {
  addParallel,
  type Bias,
  type ConvForm,
  chain,
  chainCost,
  hasNoBias,
  macsPerPlace,
  pointwise,
  whyNotChain,
  whyNotParallel,
} from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { chainMatrices, type LinearNode, type MatrixNode, toConvNode, toMatrixNode } from '../graph/forms.ts'
import { freshName, type Graph, type Node, Wiring } from '../graph/graph.ts'
import { rewire, rewrite } from '../graph/rewrite.ts'
import { floatsOf, floatTensor, isFloat, sizeOf, type Tensor, toTensor } from '../graph/tensor.ts'

export interface Fused {
  readonly nodes: readonly string[]
  readonly into: string
  readonly macsBefore: number
  readonly macsAfter: number
  /** A constant of the output's size is added, because padding makes borders differ. */
  readonly hasBorderMap: boolean
}

export interface FoldReport {
  readonly removed: readonly string[]
  readonly fused: readonly Fused[]
  readonly refused: readonly { readonly nodes: readonly string[]; readonly reason: string }[]
}

export interface FoldOptions {
  /** A rectifier whose slope below zero is at least this counts as the identity (Layer Folding: 0.9 for residual nets). */
  readonly slopeThreshold?: number
}

interface Step {
  readonly graph: Graph
  readonly removed?: readonly string[]
  readonly fused?: readonly Fused[]
}

/**
 * Values that Constant nodes make, and copies of initializers that exporters share between layers, as initializers of
 * their own: the same numbers where passes look for them.
 */
export function hoistConstants(graph: Graph): Graph {
  const initializers = new Map<string, Tensor>()
  const nodes = new Map<Node, readonly Node[]>()
  for (const node of graph.nodes) {
    const [out] = node.outputs as [string]
    if (graph.outputs.some(({ name }) => name === out)) continue
    const value = node.opType === 'Constant' ? node.attributes.get('value')?.t : undefined
    const copied = node.opType === 'Identity' ? node.inputs[0]! : ''
    const tensor = value === undefined ? (initializers.get(copied) ?? graph.initializers.get(copied)) : toTensor(value)
    if (tensor === undefined) continue
    initializers.set(out, tensor)
    nodes.set(node, [])
  }
  return nodes.size === 0 ? graph : rewrite(graph, { nodes, initializers })
}

function isNothing(graph: Graph, node: Node, wiring: Wiring, threshold: number): boolean {
  switch (node.opType) {
    case 'Identity':
      return !graph.initializers.has(node.inputs[0]!)
    case 'Dropout': {
      const mode = node.inputs[2] ? graph.initializers.get(node.inputs[2]) : undefined
      const isInference = !node.inputs[2] || (mode !== undefined && mode.data[0] === 0)
      return isInference && (node.outputs[1] === undefined || wiring.consumersOf(node.outputs[1]).length === 0)
    }
    case 'LeakyRelu':
      return floatOf(node, 'alpha', 0.01) >= threshold
    case 'PRelu': {
      const slopes = graph.initializers.get(node.inputs[1] ?? '')
      return slopes !== undefined && isFloat(slopes) && floatsOf(slopes, node.inputs[1]!).every((s) => s >= threshold)
    }
    default:
      return false
  }
}

/** Drop what does nothing at inference, rectifiers with a slope of nearly one among it. */
function dropNothing(graph: Graph, threshold: number): Step {
  const wiring = new Wiring(graph)
  const gone = graph.nodes.filter((node) => isNothing(graph, node, wiring, threshold))
  const next = rewire(graph, new Map(gone.map((node) => [node.outputs[0]!, node.inputs[0]!])))
  const left = new Set(next.nodes.map(({ outputs }) => outputs.join()))
  const removed = gone.filter((node) => node.opType !== 'Identity' || !left.has(node.outputs.join()))
  return next.nodes.length === graph.nodes.length ? { graph } : { graph: next, removed: removed.map(describeNode) }
}

const placesOf = (shapes: Shapes, value: string): number => {
  const dims = shapes.get(value)!
  return dims[0]! * sizeOf(dims.slice(2))
}

/** What two would be as one, without the weights: enough to decide on. */
function sketch(first: ConvForm, second: ConvForm): ConvForm {
  const { group, kernel } = chainCost(first, second)
  const isPadded = second.pads.some((pad) => pad !== 0)
  const hasMap = first.bias.kind === 'map' || second.bias.kind === 'map' || (isPadded && !hasNoBias(first))
  const values = Float64Array.of(hasNoBias(first) && hasNoBias(second) ? 0 : 1)
  const bias: Bias = hasMap ? { kind: 'map', values, height: 0, width: 0 } : { kind: 'vector', values }
  const pad = (side: 0 | 1 | 2 | 3): number => first.pads[side]! + first.strides[side % 2]! * second.pads[side]!
  return {
    ...first,
    weight: new Float64Array(),
    outputs: second.outputs,
    group,
    kernel,
    strides: [first.strides[0] * second.strides[0], first.strides[1] * second.strides[1]],
    dilations: [1, 1],
    pads: [pad(0), pad(1), pad(2), pad(3)],
    bias,
  }
}

interface Segment {
  readonly from: number
  readonly to: number
}

/** Cut a row of `count` things so that the segments' costs add up to least; on a tie, into fewer. */
function cheapestCuts(count: number, costOf: (segment: Segment) => number | undefined): Segment[] {
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

/** A fused convolution as nodes; the last value keeps its name. */
function toNodes(
  graph: Graph,
  form: ConvForm,
  {
    name,
    input,
    output,
    pending,
  }: { name: string; input: string; output: string; pending: ReadonlyMap<string, Tensor> },
) {
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
  }
  if (form.bias.kind !== 'map') return { nodes: [conv], initializers }
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
  return { nodes: [conv, add], initializers }
}

type Refusals = Map<string, { nodes: string[]; reason: string }>

function refuse(refusals: Refusals, nodes: readonly Node[], reason: string): void {
  const names = nodes.map(describeNode)
  refusals.set(names.join(), { nodes: names, reason })
}

/** Rows of nodes of which each reads only the one before and is read only by the next. */
function rowsOf<T extends object>(items: readonly T[], nextOf: (item: T) => T | undefined): T[][] {
  const following = new Set(items.map(nextOf).filter((item) => item !== undefined))
  return items
    .filter((item) => !following.has(item))
    .map((start) => {
      const row = [start]
      for (let next = nextOf(start); next !== undefined; next = nextOf(next)) row.push(next)
      return row
    })
}

/** Make one convolution of those that stand in a row, wherever it multiplies less. */
function chainConvs(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  const linear = new Map<Node, LinearNode>()
  for (const node of graph.nodes) {
    const found = toConvNode(graph, node, shapes)
    if (found !== undefined) linear.set(node, found)
  }
  const nextOf = ({ node }: LinearNode): LinearNode | undefined => {
    const next = wiring.onlyConsumerOf(node.outputs[0]!)
    const found = next && linear.get(next)
    return found?.input === node.outputs[0] ? found : undefined
  }
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  const fused: Fused[] = []
  for (const row of rowsOf([...linear.values()], nextOf)) {
    if (row.length === 1 || !row.some(({ node }) => node.opType === 'Conv')) continue
    const places = row.map(({ node }) => placesOf(shapes, node.outputs[0]!))
    const ownMacs = row.map(({ form }, i) => macsPerPlace(form) * places[i]!)
    const macs = ({ from, to }: Segment): number => ownMacs.slice(from, to + 1).reduce((sum, each) => sum + each, 0)
    const costOf = ({ from, to }: Segment): number | undefined => {
      if (from === to) return ownMacs[from]
      if (!row.slice(from, to + 1).some(({ node }) => node.opType === 'Conv')) return undefined
      let form = row[from]!.form
      for (let i = from + 1; i <= to; i++) {
        const next = row[i]!.form
        const reason = whyNotChain(form, next)
        if (reason !== undefined) {
          if (i === from + 1) refuse(refusals, [row[from]!.node, row[i]!.node], reason)
          return undefined
        }
        form = sketch(form, next)
      }
      return macsPerPlace(form) * places[to]!
    }
    const cuts = cheapestCuts(row.length, costOf)
    for (const segment of cuts) {
      const { from, to } = segment
      const cost = costOf(segment)!
      const next = row[to + 1]
      if (next !== undefined && whyNotChain(row[to]!.form, next.form) === undefined) {
        const both = costOf({ from: to, to: to + 1 })
        const apart = ownMacs[to]! + ownMacs[to + 1]!
        if (both !== undefined && both > apart)
          refuse(refusals, [row[to]!.node, next.node], `one would multiply more: ${apart} -> ${both}`)
      }
      if (from === to) continue
      const members = row.slice(from, to + 1)
      let form = members[0]!.form
      const [height, width] = shapes.get(members[0]!.input)!.slice(2) as [number, number]
      for (const { form: second } of members.slice(1)) form = chain(form, second, [height, width])
      const last = members.at(-1)!.node
      const main = members.findLast(({ node }) => node.opType === 'Conv')!.node
      const made = toNodes(graph, form, {
        name: main.name || main.outputs[0]!,
        input: members[0]!.input,
        output: last.outputs[0]!,
        pending: initializers,
      })
      for (const { node } of members) nodes.set(node, [])
      nodes.set(last, made.nodes)
      for (const [name, tensor] of made.initializers) initializers.set(name, tensor)
      fused.push({
        nodes: members.map(({ node }) => describeNode(node)),
        into: describeNode(made.nodes[0]!),
        macsBefore: macs(segment),
        macsAfter: cost,
        hasBorderMap: form.bias.kind === 'map',
      })
    }
  }
  return fused.length === 0 ? { graph } : { graph: rewrite(graph, { nodes, initializers }), fused }
}

/** The same for matrices over the last axis. */
function chainLinears(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  const linear = graph.nodes.flatMap(
    (node) => toMatrixNode(graph, node, shapes, (output) => wiring.onlyConsumerOf(output)) ?? [],
  )
  const byFirst = new Map(linear.map((each) => [each.nodes[0]!, each]))
  const nextOf = ({ output }: MatrixNode): MatrixNode | undefined => {
    const next = wiring.onlyConsumerOf(output)
    const found = next && byFirst.get(next)
    return found?.input === output ? found : undefined
  }
  const nodes = new Map<Node, readonly Node[]>()
  const initializers = new Map<string, Tensor>()
  const fused: Fused[] = []
  for (const row of rowsOf(linear, nextOf)) {
    if (row.length === 1) continue
    const rows = sizeOf(shapes.get(row[0]!.input)!.slice(0, -1))
    const cost = ({ from, to }: Segment): number => rows * row[from]!.form.inputs * row[to]!.form.outputs
    for (const segment of cheapestCuts(row.length, cost)) {
      const { from, to } = segment
      const next = row[to + 1]
      if (next !== undefined) {
        const apart = cost({ from: to, to }) + cost({ from: to + 1, to: to + 1 })
        const both = cost({ from: to, to: to + 1 })
        refuse(refusals, [row[to]!.nodes[0]!, next.nodes[0]!], `one would multiply more: ${apart} -> ${both}`)
      }
      if (from === to) continue
      const members = row.slice(from, to + 1)
      const form = members.map((each) => each.form).reduce(chainMatrices)
      const { nodes: lastNodes, output } = members.at(-1)!
      const main = lastNodes[0]!
      const name = main.name || main.outputs[0]!
      const weightName = freshName(graph, `${name}.weight`, initializers)
      const biasName = freshName(graph, `${name}.bias`, initializers)
      initializers.set(weightName, floatTensor(form.weight, [form.inputs, form.outputs], form.type))
      initializers.set(biasName, floatTensor(form.bias, [form.outputs], form.type))
      const input = members[0]!.input
      const middle = lastNodes.length === 1 ? freshName(graph, `${output}.product`) : main.outputs[0]!
      const base = { name, domain: '', attributes: new Map() }
      const made: Node[] = members.some((each) => each.nodes[0]!.opType === 'Gemm')
        ? [{ ...base, opType: 'Gemm', inputs: [input, weightName, biasName], outputs: [output] }]
        : [
            { ...base, opType: 'MatMul', inputs: [input, weightName], outputs: [middle] },
            { ...base, name: `${name}.add`, opType: 'Add', inputs: [middle, biasName], outputs: [output] },
          ]
      for (const each of members) for (const node of each.nodes) nodes.set(node, [])
      nodes.set(lastNodes.at(-1)!, made)
      fused.push({
        nodes: members.flatMap((each) => each.nodes.map(describeNode)),
        into: describeNode(made[0]!),
        macsBefore: members.reduce((sum, each) => sum + rows * each.form.inputs * each.form.outputs, 0),
        macsAfter: cost(segment),
        hasBorderMap: false,
      })
    }
  }
  return fused.length === 0 ? { graph } : { graph: rewrite(graph, { nodes, initializers }), fused }
}

/** A sum of two convolutions of one value, or of a value and its convolution, as one (methods.md 1.7). One at a time. */
function absorbSkip(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  for (const add of graph.nodes) {
    if (add.opType !== 'Add' || add.inputs.some((name) => graph.initializers.has(name))) continue
    const dims = shapes.get(add.outputs[0]!)
    if (dims?.length !== 4 || add.inputs.some((name) => shapes.get(name)?.join() !== dims.join())) continue
    const branches = add.inputs.map((name): LinearNode | undefined => {
      const node = wiring.producerOf(name)
      if (node?.opType !== 'Conv' || wiring.onlyConsumerOf(name) !== add) return undefined
      return toConvNode(graph, node, shapes)
    })
    const [a, b] = branches
    const [left, right] = add.inputs as [string, string]
    let input: string
    if (a !== undefined && b !== undefined && a.input === b.input) input = a.input
    else if (a?.input === right) input = right
    else if (b?.input === left) input = left
    else continue
    const identity = pointwise(dims[1]!, (a ?? b)!.form.type)
    const formA = a !== undefined && a.input === input ? a.form : identity
    const formB = b !== undefined && b.input === input ? b.form : identity
    if (formA === identity && formB === identity) continue
    const members = [
      ...new Set([formA === identity ? [] : [a!.node], formB === identity ? [] : [b!.node], [add]].flat()),
    ]
    const reason = whyNotParallel(formA, formB)
    if (reason !== undefined) {
      refuse(refusals, members, reason)
      continue
    }
    const form = addParallel(formA, formB)
    const places = placesOf(shapes, add.outputs[0]!)
    const before = places * (macsPerPlace(formA) + macsPerPlace(formB))
    const after = places * macsPerPlace(form)
    if (after > before) {
      refuse(refusals, members, `one would multiply more: ${before} -> ${after}`)
      continue
    }
    const main = members.find(({ opType }) => opType === 'Conv')!
    const made = toNodes(graph, form, {
      name: main.name || main.outputs[0]!,
      input,
      output: add.outputs[0]!,
      pending: new Map(),
    })
    const nodes = new Map<Node, readonly Node[]>(members.map((node) => [node, []]))
    nodes.set(add, made.nodes)
    const fused: Fused = {
      nodes: members.map(describeNode),
      into: describeNode(made.nodes[0]!),
      macsBefore: before,
      macsAfter: after,
      hasBorderMap: false,
    }
    return { graph: rewrite(graph, { nodes, initializers: made.initializers }), fused: [fused] }
  }
  return { graph }
}

/**
 * Fold everything that stands in a row and is linear into one operator, wherever that is exact and multiplies no more:
 * BatchNorm and constants into convolutions, convolution into convolution, matrix into matrix, skips into kernels, and
 * rectifiers that are (nearly) the identity into nothing (LayerFold, Layer Folding; methods.md 1 and 2).
 *
 * @param shapes Of every value of the graph (`probeShapes`); values keep their names, so they stay valid.
 */
export function fold(
  original: Graph,
  shapes: Shapes,
  { slopeThreshold = 0.9 }: FoldOptions = {},
): { graph: Graph; report: FoldReport } {
  const removed: string[] = []
  const fused: Fused[] = []
  let refusals: Refusals = new Map()
  let graph = hoistConstants(original)
  for (;;) {
    const before = graph
    refusals = new Map()
    const steps = [
      (g: Graph) => dropNothing(g, slopeThreshold),
      (g: Graph) => chainConvs(g, shapes, refusals),
      (g: Graph) => chainLinears(g, shapes, refusals),
      (g: Graph) => absorbSkip(g, shapes, refusals),
    ]
    for (const step of steps) {
      const done = step(graph)
      graph = done.graph
      removed.push(...(done.removed ?? []))
      fused.push(...(done.fused ?? []))
    }
    if (graph === before) break
  }
  return { graph, report: { removed, fused, refused: [...refusals.values()] } }
}
