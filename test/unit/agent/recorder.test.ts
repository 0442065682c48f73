import { SlotRecorder } from '@espalier/agent/recorder/slot-recorder'
import { findRefusal } from '@espalier/agent/slot/find-refusal'
import { psnrDb } from '@espalier/shared/codec/psnr'
import { quantile } from '@espalier/shared/histogram'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { describe, expect, test } from 'vitest'
import { makeConfiguration } from '../make-configuration.ts'

const configuration = makeConfiguration()

describe('SlotRecorder', () => {
  test('counts frames, bits, late and unsent ones, and latency in seconds', () => {
    const recorder = new SlotRecorder()
    for (const latencyMs of [100, 100, 300])
      recorder.recordFrame({ configuration, bits: 1000, latencyMs, isSent: latencyMs < 200 })
    recorder.recordDropped(2)
    recorder.recordQuality({ kind: 'psnr', psnrDb: 30 })
    const counters = recorder.counters()

    expect(counters).toMatchObject({ frames: 3, bits: 3000, late: 1, unsent: 1, dropped: 2, psnrSum: 30, psnrCount: 1 })
    expect(quantile(counters.latency, 0.5)! / 0.1).toBeGreaterThan(0.95)
    expect(quantile(counters.latency, 0.5)! / 0.1).toBeLessThan(1.05)
  })

  test('counts a swap when the shape changes, not when alpha does', () => {
    const recorder = new SlotRecorder()
    const record = (changes: Partial<typeof configuration>) =>
      recorder.recordFrame({ configuration: { ...configuration, ...changes }, bits: 1, latencyMs: 1, isSent: true })
    record({})
    record({ alpha255: 100 })
    expect(recorder.counters().swaps).toBe(0)
    record({ variant: 'small' })
    record({ width: 32 })
    expect(recorder.counters().swaps).toBe(2)
  })
})

describe('psnrDb()', () => {
  const picture = (value: number) => ({ width: 2, height: 1, rgb: new Uint8Array(6).fill(value) })

  test('gives 20 log(255 / error) for an even error and a finite figure for none', () => {
    expect(psnrDb(picture(10), picture(20))).toBeCloseTo(20 * Math.log10(25.5), 9)
    expect(psnrDb(picture(10), picture(10))).toBe(100)
  })

  test('refuses pictures of different size', () => {
    expect(() => psnrDb(picture(1), { width: 1, height: 2, rgb: new Uint8Array(6) })).toThrow(RangeError)
  })
})

test('findRefusal() names what this device does not have', () => {
  const manifest = { family: 'kodo', variants: [{ id: 'full', encoder: { weights: {} } }], tensors: {} } as unknown
  const runtimes = [
    { backend: 'wasm', threads: 1 },
    { backend: 'native', threads: 2 },
  ] as const
  const about = { manifest: manifest as Manifest, runtimes, maxWorkerBytes: 200e6 }
  const refusalOf = (changes: Partial<typeof configuration>) => findRefusal([{ ...configuration, ...changes }], about)

  expect(refusalOf({ alpha255: 255, width: 32, frameRate: 1 })).toBeUndefined()
  expect(refusalOf({ family: 'other' })).toContain('"other"')
  expect(refusalOf({ variant: 'tiny' })).toContain('"tiny"')
  expect(refusalOf({ mode: 'live' })).toContain('"live"')
  expect(refusalOf({ backend: 'webgpu' })).toContain('webgpu')
  expect(refusalOf({ threads: 4 })).toContain('4 threads')
  expect(refusalOf({ backend: 'native', threads: 2 })).toBeUndefined()
  expect(refusalOf({ backend: 'native' })).toContain('native with 1 thread,')
  expect(findRefusal([configuration], { ...about, maxWorkerBytes: 100e6 })).toContain('needs about 140 MB')
  const native = { ...configuration, backend: 'native' as const, threads: 2 }
  expect(findRefusal([configuration, native], about)).toContain('in one ladder, expected one')
})
