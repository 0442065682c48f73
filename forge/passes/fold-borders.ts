import { describeNode, intAttribute, intsAttribute } from '../graph/attributes.ts'
import {
  type ConvForm,
  chain,
  chainCost,
  interiorOf,
  macsPerPlace,
  outputSize,
  type Pair,
  pushBias,
  type Span,
  whyNotChain,
  windowOf,
} from '../graph/conv-form.ts'
import type { Shapes } from '../graph/cost.ts'
import { type LinearNode, toConvNode } from '../graph/forms.ts'
import { freshName, type Graph, isBatchOpen, isSizeOpen, type Node, Wiring } from '../graph/graph.ts'
import { rewrite } from '../graph/rewrite.ts'
import { floatTensor, int64Tensor, type Tensor } from '../graph/tensor.ts'
import { type Refusals, refuse, type Step } from './fold-step.ts'

/** A rectangle of an image. */
type Region = readonly [rows: Span, columns: Span]

const lengthOf = ({ from, to }: Span): number => Math.max(0, to - from)
const areaOf = ([rows, columns]: Region): number => lengthOf(rows) * lengthOf(columns)

/** What of its input a convolution reads for a rectangle of its output, and the convolution with that much padding. */
function narrow(form: ConvForm, [rows, columns]: Region, size: Pair): { input: Region; form: ConvForm } {
  const [y, x] = [windowOf(form, 0, rows, size[0]), windowOf(form, 1, columns, size[1])]
  return { input: [y.input, x.input], form: { ...form, pads: [y.pads[0], x.pads[0], y.pads[1], x.pads[1]] } }
}

/** Parts of the output from top to bottom, each from left to right; only one of them is the interior. */
interface Layout {
  readonly interior: Region
  readonly bands: readonly (readonly Region[])[]
}

/** Undefined where every output is at a border. @param size [height, width] of the second one's input. */
function layOut(second: ConvForm, size: Pair): Layout | undefined {
  const [height, width] = outputSize(second, size)
  const [rows, columns] = [interiorOf(second, 0, size[0]), interiorOf(second, 1, size[1])]
  const interior: Region = [rows, columns]
  if (areaOf(interior) === 0) return undefined
  const across = { from: 0, to: width }
  const bands: Region[][] = [
    [[{ from: 0, to: rows.from }, across]],
    [[rows, { from: 0, to: columns.from }], interior, [rows, { from: columns.to, to: width }]],
    [[{ from: rows.to, to: height }, across]],
  ]
  const kept = bands.map((band) => band.filter((region) => areaOf(region) > 0)).filter((band) => band.length > 0)
  return { interior, bands: kept }
}

/** Both convolutions on what a strip of the output needs. @param sizes Of the inputs of the first and of the second. */
function stripOf(first: ConvForm, second: ConvForm, strip: Region, sizes: readonly [Pair, Pair]) {
  const after = narrow(second, strip, sizes[1])
  const before = narrow(first, after.input, sizes[0])
  const isConstant = [before, after].some(({ input }) => areaOf(input) === 0)
  const macs = areaOf(strip) * macsPerPlace(second) + areaOf(after.input) * macsPerPlace(first)
  return {
    input: before.input,
    forms: [before.form, after.form] as const,
    macs: isConstant ? 0 : macs,
    /** Nothing but padding is read: a constant. */
    isConstant,
  }
}

/** Attributes of a convolution with other padding. */
const withPads = ({ attributes }: Node, { pads }: ConvForm): Node['attributes'] =>
  new Map([...[...attributes].filter(([key]) => key !== 'auto_pad'), ['pads', intsAttribute('pads', pads)]])

/** What a strip is where its inputs lie in the padding alone: biases that have gone through, [C, height, width]. */
function constantOver({ form: first }: LinearNode, { form: second }: LinearNode, [rows, columns]: Region, size: Pair) {
  const bias = pushBias(first.bias, second, size)
  const places: number[] = []
  for (let o = 0; o < second.outputs; o++)
    for (let y = rows.from; y < rows.to; y++)
      for (let x = columns.from; x < columns.to; x++)
        places.push(bias.values[bias.kind === 'vector' ? o : (o * bias.height + y) * bias.width + x]!)
  return places
}

class Maker {
  readonly nodes: Node[] = []
  readonly initializers = new Map<string, Tensor>()
  readonly shapes = new Map<string, readonly number[]>()
  readonly #graph: Graph

  constructor(graph: Graph) {
    this.#graph = graph
  }

  value(wanted: string, dims: readonly number[]): string {
    const name = freshName(this.#graph, wanted, this.shapes)
    this.shapes.set(name, dims)
    return name
  }

  constant(wanted: string, tensor: Tensor): string {
    const name = freshName(this.#graph, wanted, this.initializers)
    this.initializers.set(name, tensor)
    return name
  }

  add(node: Pick<Node, 'name' | 'opType' | 'inputs' | 'outputs' | 'attributes'> & Partial<Node>): void {
    this.nodes.push({ domain: '', ...node })
  }

  /** A rectangle of a value of [N, C, H, W]; the value itself where that is all of it. */
  slice(name: string, value: string, dims: readonly number[], [rows, columns]: Region): string {
    if (rows.from === 0 && rows.to === dims[2] && columns.from === 0 && columns.to === dims[3]) return value
    const output = this.value(`${name}.input`, [dims[0]!, dims[1]!, lengthOf(rows), lengthOf(columns)])
    const lists = { starts: [rows.from, columns.from], ends: [rows.to, columns.to], axes: [2, 3] }
    const keys = ['starts', 'ends', 'axes'] as const
    // Opset 10 made inputs of the attributes.
    const isOld = this.#graph.opset < 10
    this.add({
      name: `${name}.slice`,
      opType: 'Slice',
      inputs: isOld ? [value] : [value, ...keys.map((key) => this.constant(`${name}.${key}`, int64Tensor(lists[key])))],
      outputs: [output],
      attributes: new Map(isOld ? keys.map((key) => [key, intsAttribute(key, lists[key])]) : []),
    })
    return output
  }
}

/** The nodes that stand for both. @param isMain Whether the name of the second goes on, which it does once. */
function build(
  graph: Graph,
  shapes: Shapes,
  [a, b]: readonly [LinearNode, LinearNode],
  layout: Layout,
  whole: ConvForm,
) {
  const maker = new Maker(graph)
  const main = b.node.name || b.node.outputs[0]!
  const dims = shapes.get(a.input)!
  const [size, middle] = [dims.slice(2), shapes.get(b.input)!.slice(2)] as unknown as [Pair, Pair]
  const weight = maker.constant(
    `${main}.weight`,
    floatTensor(
      whole.weight,
      [whole.outputs, whole.inputs / whole.group, whole.kernel[0], whole.kernel[1]],
      whole.type,
    ),
  )
  const bias = maker.constant(`${main}.bias`, floatTensor(whole.bias.values, [whole.outputs], whole.type))
  const makeRegion = (region: Region, name: string): string => {
    const [height, width] = [lengthOf(region[0]), lengthOf(region[1])]
    // Padding that a stride never reaches leaves no border at all.
    const isAll = layout.bands.flat().length === 1
    const outputOf = (): string =>
      isAll ? b.node.outputs[0]! : maker.value(name, [dims[0]!, b.form.outputs, height, width])
    if (region === layout.interior) {
      const output = outputOf()
      const { input, form } = narrow(whole, region, size)
      const attributes = [
        intAttribute('group', form.group),
        intsAttribute('kernel_shape', form.kernel),
        intsAttribute('pads', form.pads),
        intsAttribute('strides', form.strides),
      ]
      maker.add({
        name: main,
        opType: 'Conv',
        inputs: [maker.slice(name, a.input, dims, input), weight, bias],
        outputs: [output],
        attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
        ...(b.node.source && { source: b.node.source }),
      })
      return output
    }
    const { input, forms, isConstant } = stripOf(a.form, b.form, region, [size, middle])
    if (isConstant) {
      const one = constantOver(a, b, region, middle)
      const values = Array.from({ length: dims[0]! }, () => one).flat()
      return maker.constant(
        `${name}.constant`,
        floatTensor(values, [dims[0]!, b.form.outputs, height, width], whole.type),
      )
    }
    const output = outputOf()
    const [rows, columns] = narrow(b.form, region, middle).input
    const between = maker.value(`${name}.middle`, [dims[0]!, a.form.outputs, lengthOf(rows), lengthOf(columns)])
    maker.add({
      name: `${name}.first`,
      opType: 'Conv',
      inputs: [maker.slice(name, a.input, dims, input), ...a.node.inputs.slice(1)],
      outputs: [between],
      attributes: withPads(a.node, forms[0]),
    })
    maker.add({
      name: `${name}.second`,
      opType: 'Conv',
      inputs: [between, ...b.node.inputs.slice(1)],
      outputs: [output],
      attributes: withPads(b.node, forms[1]),
    })
    return output
  }
  const output = b.node.outputs[0]!
  const join = (parts: readonly string[], axis: number, name: string, to: string): void =>
    maker.add({
      name,
      opType: 'Concat',
      inputs: parts,
      outputs: [to],
      attributes: new Map([['axis', intAttribute('axis', axis)]]),
    })
  const isOneBand = layout.bands.length === 1
  const bands = layout.bands.map((band, i) => {
    const parts = band.map((region, k) => makeRegion(region, `${output}.part${i}${k}`))
    if (parts.length === 1) return parts[0]!
    const [height, width] = [lengthOf(band[0]![0]), band.reduce((sum, region) => sum + lengthOf(region[1]), 0)]
    const to = isOneBand ? output : maker.value(`${output}.band${i}`, [dims[0]!, b.form.outputs, height, width])
    join(parts, 3, `${main}.band${i}`, to)
    return to
  })
  if (bands.length > 1) join(bands, 2, `${main}.join`, output)
  return maker
}

/**
 * One convolution for the inside of two of which the second is padded, and both on strips along the borders, pasted
 * around it: exact, wherever that multiplies less (methods.md 1.6, border recompute). One pair at a time.
 */
export function recomputeBorders(graph: Graph, shapes: Shapes, refusals: Refusals): Step {
  const wiring = new Wiring(graph)
  for (const node of graph.nodes) {
    const next = node.opType === 'Conv' ? wiring.onlyConsumerOf(node.outputs[0]!) : undefined
    if (next?.opType !== 'Conv' || next.inputs[0] !== node.outputs[0]) continue
    const [a, b] = [toConvNode(graph, node, shapes), toConvNode(graph, next, shapes)]
    if (a === undefined || b === undefined) continue
    const inner: ConvForm = { ...b.form, pads: [0, 0, 0, 0] }
    const reason = whyNotChain(a.form, b.form)
    if (reason === undefined || whyNotChain(a.form, inner) !== undefined) continue
    if (isSizeOpen(graph)) {
      refuse(refusals, [node, next], `${reason}, and the model leaves its size open`)
      continue
    }
    const [size, middle] = [shapes.get(a.input)!.slice(2), shapes.get(b.input)!.slice(2)] as unknown as [Pair, Pair]
    const layout = layOut(b.form, middle)
    if (layout === undefined) {
      refuse(refusals, [node, next], `${reason}, and every output is at a border`)
      continue
    }
    const strips = layout.bands
      .flat()
      .filter((region) => region !== layout.interior)
      .map((region) => stripOf(a.form, b.form, region, [size, middle]))
    const { group, kernel } = chainCost(a.form, inner)
    const perPlace = ((b.form.outputs * a.form.inputs) / group) * kernel[0] * kernel[1]
    const batch = shapes.get(a.input)![0]!
    const [height, width] = outputSize(b.form, middle)
    const before = batch * (middle[0] * middle[1] * macsPerPlace(a.form) + height * width * macsPerPlace(b.form))
    const after = batch * (areaOf(layout.interior) * perPlace + strips.reduce((sum, { macs }) => sum + macs, 0))
    if (after >= before) {
      refuse(
        refusals,
        [node, next],
        `${reason}, and one with its borders recomputed would multiply no less: ${before} -> ${after}`,
      )
      continue
    }
    if (strips.some(({ isConstant }) => isConstant) && isBatchOpen(graph)) {
      refuse(refusals, [node, next], `${reason}, some outputs read nothing but padding, and the batch is open`)
      continue
    }
    const pad = (side: 0 | 1 | 2 | 3): number => a.form.pads[side]! + a.form.strides[side % 2]! * b.form.pads[side]!
    const whole: ConvForm = { ...chain(a.form, inner, size), pads: [pad(0), pad(1), pad(2), pad(3)] }
    const made = build(graph, shapes, [a, b], layout, whole)
    return {
      graph: rewrite(graph, {
        nodes: new Map([
          [node, []],
          [next, made.nodes],
        ]),
        initializers: made.initializers,
      }),
      fused: [
        {
          nodes: [describeNode(node), describeNode(next)],
          into: describeNode(made.nodes.find(({ name }) => name === (next.name || next.outputs[0]))!),
          macsBefore: before,
          macsAfter: after,
          hasBorderMap: false,
          hasBorderStrips: strips.length > 0,
        },
      ],
      shapes: made.shapes,
    }
  }
  return { graph }
}
