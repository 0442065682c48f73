import { create } from '@bufbuild/protobuf'
import { ModelError } from '@espalier/shared/errors'
import type { Node } from './graph.ts'
import { type AttributeProto, AttributeProtoSchema, AttributeProto_AttributeType as Kind } from './onnx_pb.ts'

/** How a message names a node: by its name, or where it has none, by what it makes. */
export function describeNode({ name, opType, outputs }: Node): string {
  return `${opType} "${name || outputs[0]}"`
}

export const intOf = ({ attributes }: Node, key: string, otherwise: number): number =>
  attributes.has(key) ? Number(attributes.get(key)!.i) : otherwise

export const floatOf = ({ attributes }: Node, key: string, otherwise: number): number =>
  attributes.get(key)?.f ?? otherwise

export const intsOf = ({ attributes }: Node, key: string, otherwise: readonly number[]): number[] =>
  attributes.has(key) ? attributes.get(key)!.ints.map(Number) : [...otherwise]

export const stringOf = ({ attributes }: Node, key: string, otherwise: string): string =>
  attributes.has(key) ? new TextDecoder().decode(attributes.get(key)!.s) : otherwise

export const intAttribute = (name: string, value: number): AttributeProto =>
  create(AttributeProtoSchema, { name, type: Kind.INT, i: BigInt(value) })

export const intsAttribute = (name: string, values: readonly number[]): AttributeProto =>
  create(AttributeProtoSchema, { name, type: Kind.INTS, ints: values.map(BigInt) })

export const floatAttribute = (name: string, value: number): AttributeProto =>
  create(AttributeProtoSchema, { name, type: Kind.FLOAT, f: value })

export const stringAttribute = (name: string, value: string): AttributeProto =>
  create(AttributeProtoSchema, { name, type: Kind.STRING, s: new TextEncoder().encode(value) })

/** @throws {ModelError} Always; for a node that cannot be right. */
export function refuseNode(node: Node, found: string, expected: string): never {
  throw new ModelError(`Cannot read node ${describeNode(node)}: found ${found}, expected ${expected}`)
}
