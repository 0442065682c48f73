/** A field of a protobuf message: its number, its bytes with tag and all, and what is inside where it has a length. */
export interface Field {
  readonly number: number
  readonly whole: Uint8Array
  readonly content: Uint8Array | undefined
}

const LENGTH_DELIMITED = 2
const FIXED_BYTES: Readonly<Record<number, number>> = { 1: 8, 5: 4 }

function readVarint(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0
  for (let shift = 0; shift < 64; shift += 7) {
    const byte = bytes[at++]
    if (byte === undefined) throw new RangeError(`Cannot read message: it ends within a number at byte ${at}`)
    // Only lengths and tags are looked at: those fit a double.
    value += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) return { value, next: at }
  }
  throw new RangeError(`Cannot read message: a number at byte ${at} has no end`)
}

/**
 * The fields of a message, in order, without knowing its schema.
 *
 * @returns Views on `bytes`. @throws {RangeError} If the bytes are cut off or no message.
 * @see https://protobuf.dev/programming-guides/encoding/
 */
export function readFields(bytes: Uint8Array): Field[] {
  const fields: Field[] = []
  for (let at = 0; at < bytes.length; ) {
    const tag = readVarint(bytes, at)
    const [number, wire] = [Math.floor(tag.value / 8), tag.value % 8]
    let [from, end] = [tag.next, tag.next]
    if (wire === 0) end = readVarint(bytes, from).next
    else if (wire === LENGTH_DELIMITED) {
      const length = readVarint(bytes, from)
      from = length.next
      end = from + length.value
    } else if (FIXED_BYTES[wire] === undefined) throw new RangeError(`Cannot read message: found wire type ${wire}`)
    else end = from + FIXED_BYTES[wire]
    if (end > bytes.length) throw new RangeError(`Cannot read message: field ${number} is cut off`)
    const content = wire === LENGTH_DELIMITED ? bytes.subarray(from, end) : undefined
    fields.push({ number, whole: bytes.subarray(at, end), content })
    at = end
  }
  return fields
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest]
    bytes.push((rest % 128) | 0x80)
  }
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

/** A field that has a length: text, bytes or a message. */
export function lengthDelimited(number: number, content: Uint8Array): Uint8Array {
  return concat([Uint8Array.from([...varint(number * 8 + LENGTH_DELIMITED), ...varint(content.length)]), content])
}

export function varintField(number: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(number * 8), ...varint(value)])
}
