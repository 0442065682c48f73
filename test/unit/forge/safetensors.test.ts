import { type Tensor, TYPE } from '@espalier/forge/graph/tensor'
import { readSafetensors, writeSafetensors } from '@espalier/forge/safetensors'
import { ModelError } from '@espalier/shared/errors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const SEED = 12

const typed = fc.constantFrom([TYPE.FLOAT, 4] as const, [TYPE.FLOAT16, 2] as const, [TYPE.BFLOAT16, 2] as const)
const tensor: fc.Arbitrary<Tensor> = fc
  .tuple(typed, fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }))
  .chain(([[type, bytes], dims]) => {
    const length = dims.reduce((a, b) => a * b, 1) * bytes
    return fc.uint8Array({ minLength: length, maxLength: length }).map((data) => ({ type, dims, data }))
  })
const file = fc.record({
  metadata: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
  tensors: fc
    .dictionary(
      fc.string().filter((name) => name !== '__metadata__'),
      tensor,
      { maxKeys: 5, noNullPrototype: true },
    )
    .map((found) => new Map(Object.entries(found))),
})

/** A file with this header and so many bytes after it. */
function withHeader(header: unknown, data = 0): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header))
  const bytes = new Uint8Array(8 + json.length + data)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  return bytes
}

const entry = (begin: number, end: number, shape = [(end - begin) / 4], dtype = 'F32') => ({
  dtype,
  shape,
  data_offsets: [begin, end],
})

describe('a .safetensors file', () => {
  test('gives back what was written, every type and shape', () => {
    fc.assert(
      fc.property(file, (written) => {
        const read = readSafetensors(writeSafetensors(written), 'made')
        expect(read.metadata).toEqual(written.metadata)
        expect(Object.fromEntries(read.tensors)).toEqual(Object.fromEntries(written.tensors))
      }),
      { seed: SEED, numRuns: 200 },
    )
  })

  test('is refused when cut anywhere, and when anything follows', () => {
    const bytes = writeSafetensors({
      metadata: { base: 'x' },
      tensors: new Map([
        ['a', { type: TYPE.FLOAT, dims: [2, 2], data: new Uint8Array(16) }],
        ['b', { type: TYPE.FLOAT16, dims: [3], data: new Uint8Array(6) }],
      ]),
    })
    for (let length = 0; length < bytes.length; length++)
      expect(() => readSafetensors(bytes.subarray(0, length), 'cut'), `${length} bytes`).toThrow(ModelError)
    expect(() => readSafetensors(new Uint8Array([...bytes, 0]), 'longer')).toThrow('its tensors end at 22')
  })

  test('with any byte altered is read whole or refused, never another error', () => {
    fc.assert(
      fc.property(file, fc.nat(), fc.integer({ min: 0, max: 255 }), (written, at, value) => {
        const bytes = writeSafetensors(written)
        bytes[at % bytes.length] = value
        try {
          for (const { dims, data, type } of readSafetensors(bytes, 'altered').tensors.values())
            expect(data.length).toBe(dims.reduce((a, b) => a * b, 1) * (type === TYPE.FLOAT ? 4 : 2))
        } catch (error) {
          expect(error).toBeInstanceOf(ModelError)
        }
      }),
      { seed: SEED, numRuns: 500 },
    )
  })

  test.each([
    ['a length beyond the end', new Uint8Array([255, 255, 255, 255, 255, 255, 255, 127, 0x7b]), 'found a header of'],
    ['a header that is no JSON', withHeader('{"a":'), 'no JSON object'],
    ['a header that is a list', withHeader('[]'), 'found no "{"'],
    ['a hole', withHeader({ a: entry(4, 8) }, 8), '"a" begins at 4, expected 0'],
    ['an overlap', withHeader({ a: entry(0, 8), b: entry(4, 8) }, 8), '"b" begins at 4, expected 8'],
    ['bytes past the end', withHeader({ a: entry(0, 8) }, 4), 'its tensors end at 8, expected at its end, 4'],
    ['trailing bytes', withHeader({ a: entry(0, 8) }, 12), 'its tensors end at 8, expected at its end, 12'],
    ['offsets that run backwards', withHeader({ a: entry(8, 0, [2]) }, 8), '"a" has -8 bytes, expected 8'],
    ['a shape of other size', withHeader({ a: entry(0, 8, [3]) }, 8), '"a" has 8 bytes, expected 12'],
    ['a size below zero', withHeader({ a: entry(0, 8, [-2]) }, 8), '"a" is not described'],
    ['a size that is no whole number', withHeader({ a: entry(0, 8, [1.5]) }, 8), '"a" is not described'],
    ['an unknown type', withHeader({ a: entry(0, 8, [1], 'I64') }, 8), 'dtype I64, expected F32, F16, BF16'],
    ['a type named as what all objects have', withHeader({ a: entry(0, 8, [1], 'toString') }, 8), 'dtype toString'],
    ['an entry with more in it', withHeader({ a: { ...entry(0, 8), more: 1 } }, 8), '"a" is not described'],
    ['metadata that is no text', withHeader({ __metadata__: { a: 1 } }), '__metadata__ is not text'],
  ])('with %s is refused with the reason', (_, bytes, reason) => {
    expect(() => readSafetensors(bytes, 'bad')).toThrow(ModelError)
    expect(() => readSafetensors(bytes, 'bad')).toThrow(reason)
  })
})
