import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeFamily } from '@espalier/forge/family/write-family'
import { type EnergyReader, type Profile, profile, shuffled } from '@espalier/forge/measure/profile'
import type { ProfileSubject } from '@espalier/forge/measure/profile-messages'
import { withMeasured, writeCards } from '@espalier/forge/measure/write-cards'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildFamily } from './build-family.ts'
import { TOY_SIDE, toyClassifier } from './toy-classifier.ts'

let directory: string
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-profile-'))
  directory = join(folder, 'family')
  await writeFamily(
    directory,
    await buildFamily(join(folder, 'models'), { base: toyClassifier(1), other: toyClassifier(2) }),
  )
})
afterAll(() => rm(join(directory, '..'), { recursive: true, force: true }))

/** Two joules for each CPU second, whatever is done. */
const energy: EnergyReader = { source: 'test', uncertainty: 0.5, begin: () => () => 2 }
const points = [{ width: TOY_SIDE, height: TOY_SIDE, alpha255: 0 }]

async function subjectsOf(): Promise<ProfileSubject[]> {
  const { manifest } = await openFamily(directory)
  return manifest.variants.map(({ id }) => ({ variant: id, backend: 'wasm', threads: 1 }))
}

describe('profile()', () => {
  test('measures every variant in processes of its own, and writes what it found into the manifest', async () => {
    const subjects = await subjectsOf()
    const steps: number[] = []
    const found = await profile({
      familyDir: directory,
      subjects,
      points,
      energy,
      rounds: 2,
      runs: 3,
      warmUpMs: 10,
      coolDownMs: 0,
      onProgress: (done) => steps.push(done),
    })
    expect(found.map(({ variant }) => variant)).toEqual(subjects.map(({ variant }) => variant))
    expect(steps).toEqual(Array.from({ length: 2 * subjects.length }, (_, i) => i + 1))
    for (const { samples, latencyMs, medianMs, joulesPerFrame, rssBytes } of found) {
      expect(samples).toBe(6)
      expect(latencyMs.p50).toBeGreaterThan(0)
      expect(latencyMs.p95).toBeGreaterThanOrEqual(latencyMs.p50)
      expect(medianMs.high).toBeGreaterThanOrEqual(medianMs.low)
      expect(joulesPerFrame.interval[0]).toBeCloseTo(joulesPerFrame.value / 2, 12)
      expect(rssBytes).toBeGreaterThan(1e7)
    }
    await writeCards(directory, found, 'test-device')
    const written = JSON.parse(await readFile(join(directory, 'manifest.json'), 'utf8'))
    expect(written.variants[0].measured).toHaveLength(1)
    expect(written.variants[0].measured[0]).toMatchObject({ deviceClass: 'test-device', samples: 6, backend: 'wasm' })
    // The manifest is still one.
    expect((await openFamily(directory)).manifest.variants).toHaveLength(subjects.length)
  })

  test('refuses a variant that cannot run, by its reason', async () => {
    const subjects: ProfileSubject[] = [{ variant: 'absent', backend: 'wasm', threads: 1 }]
    await expect(profile({ familyDir: directory, subjects, points, energy, rounds: 1 })).rejects.toThrow(/"absent"/)
  })

  test('leaves out a backend that this machine lacks, and says so once', async () => {
    const [first] = await subjectsOf()
    const said: string[] = []
    const found = await profile({
      familyDir: directory,
      // No browser here.
      subjects: [{ ...first!, backend: 'webgpu' }],
      points,
      energy,
      rounds: 2,
      onAbsent: (_, reason) => said.push(reason),
    })
    expect(found).toEqual([])
    expect(said).toHaveLength(1)
    expect(said[0]).toMatch(/webgpu/)
  })
})

describe('withMeasured()', () => {
  test('replaces figures of the same class of devices and keeps those of others', async () => {
    const { manifest } = await openFamily(directory)
    const of = (samples: number): Profile => ({
      variant: manifest.variants[0]!.id,
      backend: 'wasm',
      threads: 1,
      ...points[0]!,
      samples,
      latencyMs: { p50: 1, p95: 2 },
      medianMs: { low: 1, high: 1 },
      joulesPerFrame: { value: 1, source: 'test', interval: [0.5, 1.5] },
      rssBytes: 1e8,
    })
    const first = withMeasured(manifest, [of(1)], 'board-a')
    const second = withMeasured(withMeasured(first, [of(2)], 'board-b'), [of(3)], 'board-a')
    const found = second.variants[0]!.measured!.filter(({ deviceClass }) => deviceClass.startsWith('board'))
    expect(found.map(({ deviceClass, samples }) => [deviceClass, samples])).toEqual([
      ['board-b', 2],
      ['board-a', 3],
    ])
  })
})

test('shuffled() gives every item once, and the same order for the same numbers', () => {
  const numbers = [0.9, 0.1, 0.5, 0.3]
  const make = () => {
    let i = 0
    return () => numbers[i++ % numbers.length]!
  }
  const once = shuffled([1, 2, 3, 4, 5], make())
  expect(once).toEqual(shuffled([1, 2, 3, 4, 5], make()))
  expect([...once].sort()).toEqual([1, 2, 3, 4, 5])
})
