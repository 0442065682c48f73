import type { TensorProto_DataType } from './onnx_pb.ts'

export type Pair = readonly [y: number, x: number]

/** A constant that is added after a convolution: one number a channel, or one a place where borders differ. */
export type Bias =
  | { readonly kind: 'vector'; readonly values: Float64Array }
  | { readonly kind: 'map'; readonly values: Float64Array; readonly height: number; readonly width: number }

/**
 * A 2-D convolution with constant weights. BatchNorm, scales and shifts by channel, zero padding and average pooling are
 * convolutions too.
 */
export interface ConvForm {
  /** [outputs, inputs / group, kernel y, kernel x]. */
  readonly weight: Float64Array
  readonly outputs: number
  readonly inputs: number
  readonly group: number
  readonly kernel: Pair
  readonly strides: Pair
  readonly dilations: Pair
  /** top, left, bottom, right. */
  readonly pads: readonly [number, number, number, number]
  readonly bias: Bias
  readonly type: TensorProto_DataType
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))

/** How many places apart the first and the last tap are, plus one. */
export const extent = ({ kernel, dilations }: ConvForm): Pair => [
  dilations[0] * (kernel[0] - 1) + 1,
  dilations[1] * (kernel[1] - 1) + 1,
]

/** @param size [height, width] of the input. */
export function outputSize(form: ConvForm, [height, width]: Pair): Pair {
  const [ey, ex] = extent(form)
  const [top, left, bottom, right] = form.pads
  return [
    Math.floor((height + top + bottom - ey) / form.strides[0]) + 1,
    Math.floor((width + left + right - ex) / form.strides[1]) + 1,
  ]
}

/** Places along an axis, the last one not included. */
export interface Span {
  readonly from: number
  readonly to: number
}

/**
 * What of the input some of a convolution's outputs read, and how many zeros they read before and after it.
 *
 * @param size Of the input along the axis.
 */
export function windowOf(
  form: ConvForm,
  axis: 0 | 1,
  outputs: Span,
  size: number,
): { readonly input: Span; readonly pads: Pair } {
  const first = outputs.from * form.strides[axis] - form.pads[axis]
  const last = (outputs.to - 1) * form.strides[axis] - form.pads[axis] + extent(form)[axis]
  const input = { from: Math.min(size, Math.max(0, first)), to: Math.max(0, Math.min(size, last)) }
  return { input, pads: [input.from - first, last - input.to] }
}

/** The outputs of a convolution that read no zero beyond the border; empty where all do. @param size Of the input. */
export function interiorOf(form: ConvForm, axis: 0 | 1, size: number): Span {
  const [stride, pad] = [form.strides[axis], form.pads[axis]]
  const from = Math.ceil(pad / stride)
  const to = Math.floor((size + pad - extent(form)[axis]) / stride) + 1
  const padded: [number, number] = axis === 0 ? [size, 1] : [1, size]
  return { from, to: Math.min(to, outputSize(form, padded)[axis]) }
}

/** Multiplications for each place of the output; adding a map counts as one a channel. */
export const macsPerPlace = ({ outputs, inputs, group, kernel, bias }: ConvForm): number =>
  ((outputs * inputs) / group) * kernel[0] * kernel[1] + (bias.kind === 'map' ? outputs : 0)

export const hasNoBias = ({ bias }: ConvForm): boolean => bias.values.every((value) => value === 0)

const isPointwise = ({ kernel }: ConvForm): boolean => kernel[0] === 1 && kernel[1] === 1
const isPadded = ({ pads }: ConvForm): boolean => pads.some((pad) => pad !== 0)

/**
 * Why two convolutions, one after another, are no single one; undefined if they are.
 *
 * Padding between them is the obstacle: it sets to zero what the single one would compute beyond the border. That is the
 * same only where the first looks at one place, because then nothing but its bias reaches beyond (methods.md 1.5, 1.6).
 */
export function whyNotChain(first: ConvForm, second: ConvForm): string | undefined {
  if (first.outputs !== second.inputs)
    return `the first has ${first.outputs} outputs, the second ${second.inputs} inputs`
  if (second.pads.some((pad) => pad < 0) || first.pads.some((pad) => pad < 0)) return 'a padding is negative'
  if (isPadded(second) && !isPointwise(first))
    return `the second is padded by ${second.pads} after a ${first.kernel.join(' x ')} kernel: borders would differ`
  return undefined
}

/** What a bias becomes on its way through a convolution. @param size [height, width] of what the bias is added to. */
export function pushBias(bias: Bias, form: ConvForm, size: Pair): Bias {
  const { outputs, inputs, group, kernel, strides, dilations, pads, weight } = form
  const perGroup = inputs / group
  const each = outputs / group
  const own = form.bias
  if (
    bias.kind === 'vector' &&
    (!isPadded(form) || bias.values.every((value) => value === 0)) &&
    own.kind === 'vector'
  ) {
    const values = Float64Array.from(own.values)
    const taps = kernel[0] * kernel[1]
    for (let o = 0; o < outputs; o++) {
      const from = Math.floor(o / each) * perGroup
      for (let c = 0; c < perGroup; c++) {
        let sum = 0
        for (let t = 0; t < taps; t++) sum += weight[(o * perGroup + c) * taps + t]!
        values[o]! += sum * bias.values[from + c]!
      }
    }
    return { kind: 'vector', values }
  }
  const [height, width] = size
  const [outHeight, outWidth] = outputSize(form, size)
  const values = new Float64Array(outputs * outHeight * outWidth)
  const before = (channel: number, y: number, x: number): number =>
    bias.kind === 'vector' ? bias.values[channel]! : bias.values[(channel * height + y) * width + x]!
  for (let o = 0, at = 0; o < outputs; o++) {
    const from = Math.floor(o / each) * perGroup
    for (let y = 0; y < outHeight; y++) {
      for (let x = 0; x < outWidth; x++, at++) {
        let sum = own.kind === 'vector' ? own.values[o]! : own.values[at]!
        for (let ky = 0; ky < kernel[0]; ky++) {
          const iy = y * strides[0] - pads[0] + ky * dilations[0]
          if (iy < 0 || iy >= height) continue
          for (let kx = 0; kx < kernel[1]; kx++) {
            const ix = x * strides[1] - pads[1] + kx * dilations[1]
            if (ix < 0 || ix >= width) continue
            for (let c = 0; c < perGroup; c++)
              sum += weight[((o * perGroup + c) * kernel[0] + ky) * kernel[1] + kx]! * before(from + c, iy, ix)
          }
        }
        values[at] = sum
      }
    }
  }
  return { kind: 'map', values, height: outHeight, width: outWidth }
}

/** The shape of the single convolution, without its weights: what the gate decides on. */
export function chainCost(first: ConvForm, second: ConvForm): { group: number; kernel: Pair } {
  const reach = (axis: 0 | 1): number =>
    first.dilations[axis] * (first.kernel[axis] - 1) +
    first.strides[axis] * second.dilations[axis] * (second.kernel[axis] - 1) +
    1
  return { group: gcd(first.group, second.group), kernel: [reach(0), reach(1)] }
}

/**
 * Two convolutions, one after another, as one (methods.md 1.4; groups: what both keep apart stays apart).
 *
 * @param size [height, width] of the first one's input; decides the constant where borders differ.
 * @throws {RangeError} If `whyNotChain` says why not.
 */
export function chain(first: ConvForm, second: ConvForm, size: Pair): ConvForm {
  const reason = whyNotChain(first, second)
  if (reason !== undefined) throw new RangeError(`Cannot fuse convolutions: ${reason}`)
  const { group, kernel } = chainCost(first, second)
  const { inputs } = first
  const { outputs } = second
  const perGroup = inputs / group
  const weight = new Float64Array(outputs * perGroup * kernel[0] * kernel[1])
  const [firstPer, secondPer] = [inputs / first.group, second.inputs / second.group]
  const [firstEach, secondEach, each] = [first.outputs / first.group, outputs / second.group, outputs / group]
  for (let o = 0; o < outputs; o++) {
    const middle = Math.floor(o / secondEach) * secondPer
    const offset = Math.floor(o / each) * perGroup
    for (let m = 0; m < secondPer; m++) {
      const source = Math.floor((middle + m) / firstEach) * firstPer - offset
      for (let ty = 0; ty < second.kernel[0]; ty++) {
        for (let tx = 0; tx < second.kernel[1]; tx++) {
          const factor = second.weight[((o * secondPer + m) * second.kernel[0] + ty) * second.kernel[1] + tx]!
          if (factor === 0) continue
          const y0 = first.strides[0] * second.dilations[0] * ty
          const x0 = first.strides[1] * second.dilations[1] * tx
          for (let c = 0; c < firstPer; c++) {
            const from = ((middle + m) * firstPer + c) * first.kernel[0] * first.kernel[1]
            const to = (o * perGroup + source + c) * kernel[0] * kernel[1]
            for (let qy = 0; qy < first.kernel[0]; qy++)
              for (let qx = 0; qx < first.kernel[1]; qx++)
                weight[to + (y0 + first.dilations[0] * qy) * kernel[1] + x0 + first.dilations[1] * qx]! +=
                  factor * first.weight[from + qy * first.kernel[1] + qx]!
          }
        }
      }
    }
  }
  const pad = (side: 0 | 1 | 2 | 3): number => first.pads[side]! + first.strides[side % 2]! * second.pads[side]!
  return {
    weight,
    outputs,
    inputs,
    group,
    kernel,
    strides: [first.strides[0] * second.strides[0], first.strides[1] * second.strides[1]],
    dilations: [1, 1],
    pads: [pad(0), pad(1), pad(2), pad(3)],
    bias: pushBias(first.bias, second, outputSize(first, size)),
    type: first.type,
  }
}

/** The identity on as many channels, or with `values` a scale by channel. */
export function pointwise(
  channels: number,
  type: TensorProto_DataType,
  { scale, shift, pads = [0, 0, 0, 0] }: { scale?: Float64Array; shift?: Float64Array; pads?: ConvForm['pads'] } = {},
): ConvForm {
  return {
    weight: scale ?? new Float64Array(channels).fill(1),
    outputs: channels,
    inputs: channels,
    group: channels,
    kernel: [1, 1],
    strides: [1, 1],
    dilations: [1, 1],
    pads,
    bias: { kind: 'vector', values: shift ?? new Float64Array(channels) },
    type,
  }
}

/** Why two convolutions of the same input are no single one when added; undefined if they are. */
export function whyNotParallel(a: ConvForm, b: ConvForm): string | undefined {
  if (a.outputs !== b.outputs || a.inputs !== b.inputs) return 'they have different channels'
  if (a.strides.join() !== b.strides.join()) return `their strides differ: ${a.strides} and ${b.strides}`
  if (a.bias.kind === 'map' || b.bias.kind === 'map') return 'one adds a constant that differs at borders'
  return undefined
}

/** Two convolutions of the same input, added, as one (RepVGG; methods.md 1.7). @throws {RangeError} As `whyNotParallel`. */
export function addParallel(a: ConvForm, b: ConvForm): ConvForm {
  const reason = whyNotParallel(a, b)
  if (reason !== undefined) throw new RangeError(`Cannot add convolutions: ${reason}`)
  const group = gcd(a.group, b.group)
  const { outputs, inputs } = a
  const [perGroup, each] = [inputs / group, outputs / group]
  // Taps are at these distances from the place that is computed.
  const first = (form: ConvForm, axis: 0 | 1): number => -form.pads[axis]
  const last = (form: ConvForm, axis: 0 | 1): number => extent(form)[axis] - 1 - form.pads[axis]
  const low: Pair = [Math.min(first(a, 0), first(b, 0)), Math.min(first(a, 1), first(b, 1))]
  const high: Pair = [Math.max(last(a, 0), last(b, 0)), Math.max(last(a, 1), last(b, 1))]
  const kernel: Pair = [high[0] - low[0] + 1, high[1] - low[1] + 1]
  const weight = new Float64Array(outputs * perGroup * kernel[0] * kernel[1])
  for (const form of [a, b]) {
    const [per, own] = [inputs / form.group, outputs / form.group]
    for (let o = 0; o < outputs; o++) {
      const source = Math.floor(o / own) * per - Math.floor(o / each) * perGroup
      for (let c = 0; c < per; c++)
        for (let ky = 0; ky < form.kernel[0]; ky++)
          for (let kx = 0; kx < form.kernel[1]; kx++) {
            const y = ky * form.dilations[0] - form.pads[0] - low[0]
            const x = kx * form.dilations[1] - form.pads[1] - low[1]
            weight[((o * perGroup + source + c) * kernel[0] + y) * kernel[1] + x]! +=
              form.weight[((o * per + c) * form.kernel[0] + ky) * form.kernel[1] + kx]!
          }
    }
  }
  // As many places at the end as either had room for.
  const pad = (axis: 0 | 1): number =>
    high[axis] + Math.max(...[a, b].map((form) => form.pads[axis + 2]! - last(form, axis)))
  return {
    weight,
    outputs,
    inputs,
    group,
    kernel,
    strides: a.strides,
    dilations: [1, 1],
    pads: [-low[0], -low[1], pad(0), pad(1)],
    bias: { kind: 'vector', values: a.bias.values.map((value, i) => value + b.bias.values[i]!) },
    type: a.type,
  }
}
