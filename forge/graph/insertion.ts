import { intAttribute, intsAttribute } from './attributes.ts'
import type { Node } from './graph.ts'
import type { AttributeProto } from './onnx_pb.ts'
import { int64Tensor, type Tensor } from './tensor.ts'

/** The largest end that Slice takes for "all of it". */
export const END = 2 ** 31 - 1

/** Nodes and constants that a pass inserts, under names that begin alike. */
export class Insertion {
  readonly nodes: Node[] = []
  readonly initializers = new Map<string, Tensor>()
  readonly #prefix: string
  readonly #opset: number
  #count = 0

  /** @param prefix Such that no name of the graph begins with it and a full stop. @param opset 13 or newer. */
  constructor(prefix: string, opset: number) {
    this.#prefix = prefix
    this.#opset = opset
  }

  constant(tensor: Tensor): string {
    const name = `${this.#prefix}.constant${this.#count++}`
    this.initializers.set(name, tensor)
    return name
  }

  integers(...values: number[]): string {
    return this.constant(int64Tensor(values))
  }

  /** @param outputs How many there are, or the one name that stands already. @returns Their names. */
  add(
    opType: string,
    inputs: readonly string[],
    attributes: readonly AttributeProto[] = [],
    outputs: number | string = 1,
  ): string[] {
    const name = `${this.#prefix}.${opType.toLowerCase()}${this.#count++}`
    const names =
      typeof outputs === 'string'
        ? [outputs]
        : Array.from({ length: outputs }, (_, i) => (i === 0 ? name : `${name}.${i}`))
    this.nodes.push({
      name,
      opType,
      domain: '',
      inputs,
      outputs: names,
      attributes: new Map(attributes.map((attribute) => [attribute.name, attribute])),
    })
    return names
  }

  one(opType: string, inputs: readonly string[], attributes: readonly AttributeProto[] = [], output?: string): string {
    return this.add(opType, inputs, attributes, output ?? 1)[0]!
  }

  /** Reductions take their axes as an input from opset 18 on; ReduceSum always here. */
  reduce(opType: string, input: string, axis: number, keepsDimension: boolean): string {
    const keeps = intAttribute('keepdims', keepsDimension ? 1 : 0)
    return this.#opset >= 18 || opType === 'ReduceSum'
      ? this.one(opType, [input, this.integers(axis)], [keeps])
      : this.one(opType, [input], [intsAttribute('axes', [axis]), keeps])
  }

  slice(input: string, axis: number, from: number, to: number, step = 1): string {
    return this.one('Slice', [input, this.integers(from), this.integers(to), this.integers(axis), this.integers(step)])
  }
}
