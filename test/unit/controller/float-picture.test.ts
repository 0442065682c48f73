import { join } from 'node:path'
import { openCodec } from '@espalier/shared/codec/open-codec'
import { Weights } from '@espalier/shared/codec/weights'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { openSession } from '@espalier/shared/runtime/open-session'
import { describe, expect, test } from 'vitest'
import { testPicture } from '../../../agent/worker/test-picture.ts'
import { toFloatPicture } from '../../../controller/web/live/float-picture.ts'
import { readFields } from '../../../controller/web/live/wire-format.ts'

const FAMILY = join(import.meta.dirname, '../../../models/kodo')

describe('toFloatPicture()', () => {
  test.for(['full', 'light'] as const)(
    'leaves the %s decoder’s levels as they are before they become bytes',
    async (name) => {
      const family = await openCodecFamily(FAMILY)
      const entry = family.manifest.decoders[name]!
      const codec = await openCodec(family, { threads: 1 })
      const { stream } = await codec.encode(testPicture(32), { variant: 'tiny', alpha255: 100 })
      const expected = await codec.decode(stream, { decoder: name })

      const { graph, output, isPlanar } = toFloatPicture(await family.readBlob(entry), entry.output)
      expect(isPlanar).toBe(true)
      const weightInputs = Object.keys(entry.weights)
      const session = await openSession(graph, {
        backend: 'wasm',
        threads: 1,
        input: entry.input,
        output,
        weightInputs,
        name,
      })
      const { symbols } = expected.reference
      const { channels } = family.manifest.latent
      const weights = (await Weights.load(family, entry)).at(100)
      const levels = await session.run(
        { type: 'float32', data: new Float32Array(symbols), dims: [1, channels, 2, 2] },
        weights,
      )
      expect(levels.dims).toEqual([1, 3, 32, 32])
      const shown = Uint8Array.from(expected.rgb, (_, i) =>
        Math.round(levels.data[(i % 3) * 1024 + Math.floor(i / 3)]!),
      )
      expect(Math.max(...shown.map((level, i) => Math.abs(level - expected.rgb[i]!)))).toBeLessThanOrEqual(1)
      await session.close()
      await codec.close()
    },
  )

  test('refuses what is no model, and one that is cut off', async () => {
    expect(() => toFloatPicture(new Uint8Array(), 'frame')).toThrow('found no graph')
    const family = await openCodecFamily(FAMILY)
    const entry = family.manifest.decoders.full
    const graph = await family.readBlob(entry)
    expect(() => toFloatPicture(graph.subarray(0, graph.length - 7), entry.output)).toThrow(
      /cut off|no end|ends within/,
    )
  })
})

test('readFields() gives back every byte of a message, in order', async () => {
  const family = await openCodecFamily(FAMILY)
  const bytes = await family.readBlob(family.manifest.decoders.light!)
  expect(Buffer.concat(readFields(bytes).map(({ whole }) => whole))).toEqual(Buffer.from(bytes))
})
