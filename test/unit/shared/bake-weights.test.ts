import { join } from 'node:path'
import { AdaptedGraph } from '@espalier/shared/codec/adapted-graph'
import { Weights } from '@espalier/shared/codec/weights'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { bakeWeights } from '@espalier/shared/runtime/bake-weights'
import { openSession } from '@espalier/shared/runtime/open-session'
import type { TensorData } from '@espalier/shared/runtime/session'
import { describe, expect, test } from 'vitest'

const family = await openCodecFamily(join(import.meta.dirname, '../../../models/kodo'))
const { encoder, id } = family.manifest.variants.at(-1)!
const graph = new Uint8Array(await family.readBlob(encoder))
const feeds = (await Weights.load(family, encoder)).at(200)
const input: TensorData = {
  type: 'uint8',
  data: new Uint8Array(64 * 64 * 3).map((_, i) => (i * 31) & 0xff),
  dims: [1, 64, 64, 3],
}

describe('bakeWeights()', () => {
  test('makes a graph of which only the picture is an input, with the same output', async () => {
    const shared = { threads: 1, input: encoder.input, output: encoder.output, name: id }
    for (const backend of ['wasm', 'native'] as const) {
      const fed = await openSession(graph, { ...shared, backend, weightInputs: Object.keys(encoder.weights) })
      const baked = await openSession(bakeWeights(graph, feeds), { ...shared, backend, weightInputs: [] })
      const [a, b] = [await fed.run(input, feeds), await baked.run(input, new Map())]
      const differences = Array.from(a.data, (value, i) => Math.abs(value - b.data[i]!))
      expect(Math.max(...differences)).toBeLessThan(1e-3)
      expect(Math.max(...a.data)).toBeGreaterThan(1)
      await fed.close()
      await baked.close()
    }
  })

  test('leaves the graph that it was given as it was, and one without such inputs too', async () => {
    const before = graph.slice()
    bakeWeights(graph, feeds)
    expect(graph).toEqual(before)
    expect(bakeWeights(graph, new Map())).toEqual(before)
  })

  test('says where a graph ends too early', () => {
    for (const length of [1, 5, 100, graph.length - 1])
      expect(() => bakeWeights(graph.subarray(0, length), feeds)).toThrow(/Cannot read graph/)
  })
})

describe('an adapted graph', () => {
  test('bakes an alpha that stays, and gives the same before, after and back at another alpha', async () => {
    for (const backend of ['wasm', 'native'] as const) {
      const adapted = await AdaptedGraph.open(family, encoder, { backend, threads: 1, name: id })
      const at = async (alpha255: number): Promise<number[]> => [...(await adapted.run(input, alpha255)).data]
      const close = (a: number[], b: number[]): boolean => a.every((value, i) => Math.abs(value - b[i]!) < 1e-3)
      const [low, high] = [await at(10), await at(240)]
      expect(close(low, high)).toBe(false)
      await at(240)
      await adapted.settle(2)
      expect(close(await at(240), high)).toBe(true)
      expect(close(await at(10), low)).toBe(true)
      await adapted.settle(1)
      expect(close(await at(10), low)).toBe(true)
      expect(close(await at(240), high)).toBe(true)
      await adapted.close()
    }
  })

  test('measures what each way costs', async () => {
    const adapted = await AdaptedGraph.open(family, encoder, { backend: 'native', threads: 1, name: id })
    const costs = await adapted.measure(input)
    for (const ms of Object.values(costs)) expect(ms).toBeGreaterThan(0)
    await adapted.close()
  })
})
