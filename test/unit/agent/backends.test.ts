import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chooseRuntimes, type Probe } from '@espalier/agent/backends/choose-runtimes'
import { describeRuntimes } from '@espalier/agent/backends/describe-runtimes'
import { MeasuredRuntimes } from '@espalier/agent/backends/measured-runtimes'
import { listCandidates, type Runtime, speedOf } from '@espalier/agent/backends/runtime'
import { defaultPlan } from '@espalier/agent/slot/default-plan'
import type { Digest } from '@espalier/shared/ids'
import { memoryNeedBytes } from '@espalier/shared/manifest/memory-need'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const wasm: Runtime = { backend: 'wasm', threads: 1 }
const native: Runtime = { backend: 'native', threads: 1 }
const webgpu: Runtime = { backend: 'webgpu', threads: 1 }
const ran = (runtime: Runtime, macsPerSecond: number, failures: Record<string, string> = {}): Probe => ({
  runtime,
  speed: { macsPerSecond },
  failures: new Map(Object.entries(failures)),
})

describe('listCandidates()', () => {
  test('tries one thread and all that are allowed, and a GPU once', () => {
    expect(listCandidates(['wasm', 'webgpu'], 4)).toEqual([wasm, { backend: 'wasm', threads: 4 }, webgpu])
    expect(listCandidates(['wasm', 'native'], 1)).toEqual([wasm, native])
  })
})

describe('chooseRuntimes()', () => {
  test('puts the fastest first, whatever its name', () => {
    expect(chooseRuntimes([ran(wasm, 9), ran(native, 1), ran(webgpu, 5)]).usable).toMatchObject([wasm, webgpu, native])
  })

  test('refuses a runtime that died, and one that gives wrong answers where another gives right ones', () => {
    const probes = [ran(wasm, 1), { runtime: native, reason: 'died' }, ran(webgpu, 9, { tiny: 'NaN' })] as const
    expect(chooseRuntimes([...probes])).toMatchObject({
      usable: [wasm],
      refused: [
        { ...native, reason: 'died' },
        { ...webgpu, reason: 'NaN' },
      ],
    })
  })

  test('blames no runtime for a variant that none can run', () => {
    const damaged = { tiny: 'digest' }
    expect(chooseRuntimes([ran(wasm, 1, damaged), ran(native, 2, damaged)]).usable).toMatchObject([native, wasm])
  })

  test('falls back to the first where nothing works: its worker will say why', () => {
    const dead = (runtime: Runtime): Probe => ({ runtime, reason: 'no family' })
    expect(chooseRuntimes([dead(wasm), dead(native)]).usable).toEqual([{ ...wasm, speed: undefined }])
  })
})

describe('describeRuntimes()', () => {
  test('says every speed, why others are refused, and how fast one thread of WebAssembly is', () => {
    const found = chooseRuntimes([ran(wasm, 1e9), ran(native, 4e9), { runtime: webgpu, reason: 'no adapter' }])
    expect(describeRuntimes(found, { ...native, speed: { macsPerSecond: 3e9 } })).toEqual({
      backends: [
        { ...native, macsPerSecond: 4e9 },
        { ...wasm, macsPerSecond: 1e9 },
      ],
      backendsRefused: [{ ...webgpu, reason: 'no adapter' }],
      macsPerSecond: 1e9,
    })
  })

  test('takes what the worker measured where nothing was tried', () => {
    const two: Runtime = { backend: 'wasm', threads: 2 }
    const only = { usable: [{ ...two, speed: undefined }], refused: [] }
    expect(describeRuntimes(only, { ...two, speed: { macsPerSecond: 6e9 } })).toEqual({
      backends: [{ ...two, macsPerSecond: 6e9 }],
      macsPerSecond: 3e9,
    })
  })
})

test('speedOf() knows a runtime with the family that it was measured with alone', () => {
  const found = chooseRuntimes([ran(wasm, 7)])
  expect(speedOf(found, 'a', { ...wasm, familyDir: 'a' })?.macsPerSecond).toBe(7)
  expect(speedOf(found, 'a', { ...wasm, familyDir: 'b' })).toBeUndefined()
  expect(speedOf(found, 'a', { ...native, familyDir: 'a' })).toBeUndefined()
})

describe('MeasuredRuntimes', () => {
  const digest = 'a'.repeat(64) as Digest
  let home: string
  beforeAll(async () => {
    home = await mkdtemp(join(tmpdir(), 'espalier-backends-'))
  })
  afterAll(() => rm(home, { recursive: true, force: true }))

  const open = (about: readonly unknown[], errors: string[] = []) =>
    new MeasuredRuntimes({ dataDir: home, about, onError: ({ message }) => errors.push(message) })
  const count = async (
    measured: MeasuredRuntimes,
    { of = digest, isAnew = false, works = true }: { of?: Digest; isAnew?: boolean; works?: boolean } = {},
  ): Promise<number> => {
    let probes = 0
    await measured.find([wasm, native], of, {
      isAnew,
      probe: async (runtime) => {
        probes++
        return works ? ran(runtime, probes) : { runtime, reason: 'no room' }
      },
    })
    return probes
  }

  test('measures once for a family on a board with a version, and when asked to', async () => {
    expect(await count(open(['1', 'pi']))).toBe(2)
    expect(await count(open(['1', 'pi']))).toBe(0)
    expect(await count(open(['2', 'pi']))).toBe(2)
    expect(await count(open(['1', 'pi']), { of: 'b'.repeat(64) as Digest })).toBe(2)
    expect(await count(open(['1', 'pi']), { isAnew: true })).toBe(2)
    expect(await count(open(['1', 'pi']))).toBe(0)
  })

  test('tries again where nothing worked', async () => {
    const of = 'c'.repeat(64) as Digest
    expect(await count(open(['1', 'pi']), { of, works: false })).toBe(2)
    expect(await count(open(['1', 'pi']), { of, works: false })).toBe(2)
  })

  test('measures again, and says so, when the file is damaged; it is whole afterwards', async () => {
    const path = join(home, 'backends.json')
    await writeFile(path, (await readFile(path)).subarray(0, 40))
    const errors: string[] = []
    expect(await count(open(['1', 'pi'], errors))).toBe(2)
    expect(errors.join()).toMatch(/Cannot read measured backends/)
    expect(await count(open(['1', 'pi']))).toBe(0)
  })

  test('tries no more once it is stopped, and keeps nothing of that', async () => {
    const of = 'd'.repeat(64) as Digest
    const stopping = new AbortController()
    const probe = async (runtime: Runtime): Promise<Probe> => {
      stopping.abort()
      return ran(runtime, 1)
    }
    const found = await open(['1', 'pi']).find([wasm, native], of, { probe, signal: stopping.signal })
    expect(found).toMatchObject({ usable: [wasm], refused: [native] })
    expect(await count(open(['1', 'pi']), { of })).toBe(2)
  })

  test('keeps no more than it needs', async () => {
    for (let i = 0; i < 40; i++) await count(open([i]))
    expect(JSON.parse(await readFile(join(home, 'backends.json'), 'utf8')).measured).toHaveLength(16)
  })
})

describe('a family and the memory of a worker', async () => {
  const { manifest } = await openFamily(join(import.meta.dirname, '../../../models/kodo'))
  const stream = { width: 64, height: 64 }
  const planWith = (maxWorkerBytes: number) =>
    defaultPlan(manifest, stream, { frameRate: 5, runtime: wasm, maxWorkerBytes })

  test('a variant with more weights needs more', () => {
    const [full, tiny] = ['full', 'tiny'].map((id) => memoryNeedBytes(manifest, id, 'wasm')) as [number, number]
    expect(tiny).toBeGreaterThan(140e6)
    expect(full).toBeGreaterThan(tiny)
    expect(full).toBeLessThan(160e6)
  })

  test('what was measured counts more than the estimate', () => {
    const measured = {
      ...manifest,
      variants: manifest.variants.map((v) => ({ ...v, measured: [{ backend: 'wasm', rssBytes: 9e8 }] })),
    }
    expect(memoryNeedBytes(measured as unknown as typeof manifest, 'tiny', 'wasm')).toBe(9e8)
  })

  test('the default is the first variant with room, and a family without any is refused by name', () => {
    expect(planWith(1e9).ladder[0]!.configuration.variant).toBe('full')
    expect(planWith(memoryNeedBytes(manifest, 'tiny', 'wasm')).ladder[0]!.configuration.variant).toBe('tiny')
    expect(() => planWith(100e6)).toThrow(/Cannot run family "kodo": variant "tiny".* 100 MB here; .*"maxWorkerBytes"/)
  })
})
