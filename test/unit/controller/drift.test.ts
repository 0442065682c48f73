import { type Drift, type FoundDrift, startDrift, updateDrift } from '@espalier/controller/estimate/drift'
import { type PowerWindow, startSensor, updateSensor } from '@espalier/controller/estimate/sensor-fault'
import { seededRandom } from '@espalier/controller/sim/random'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

/** Windows of a second; what was found, and at which of them. */
function follow(deviations: readonly number[]): (FoundDrift & { at: number })[] {
  let drift: Drift = startDrift
  return deviations.flatMap((deviation, at) => {
    const updated = updateDrift(drift, { deviation, seconds: 1 }, at * 1000)
    drift = updated.drift
    return updated.found === undefined ? [] : [{ ...updated.found, at }]
  })
}

const noisy = (seed: number, length: number, mean: (t: number) => number): number[] => {
  const random = seededRandom(seed)
  return Array.from({ length }, (_, t) => mean(t) + 0.06 * random.normal())
}

describe('updateDrift()', () => {
  test('says by how much a device became slower, and since when', () => {
    const found = follow(noisy(1, 3600, (t) => (t < 1000 ? 0.3 : 0.3 + Math.log(1.23))))
    expect(found).toHaveLength(1)
    expect(Math.exp(found[0]!.shift)).toBeCloseTo(1.23, 1)
    expect(Math.abs(found[0]!.sinceMs / 1000 - 1000)).toBeLessThan(60)
  })

  test('finds that a device is as fast as before again', () => {
    const found = follow(noisy(2, 6000, (t) => (t < 1000 || t > 3500 ? 0 : Math.log(1.3))))
    expect(found.map(({ shift }) => Math.sign(shift))).toEqual([1, -1])
  })

  test('does not take a busy minute, a wide noise or a slow small change for drift', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 400, max: 3000 }), (seed, start) => {
        const deviations = noisy(seed, 7200, (t) => (t >= start && t < start + 120 ? 0.6 : 0.03 * Math.sin(t / 900)))
        expect(follow(deviations)).toEqual([])
      }),
      { numRuns: 20 },
    )
  })

  test('needs no more than the shift times the time to find any drift beyond a tenth', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.1, max: 0.8, noNaN: true }), fc.boolean(), fc.integer(), (size, isUp, seed) => {
        const shift = isUp ? size : -size
        const [found] = follow(noisy(seed, 5000, (t) => (t < 600 ? 0 : shift)))
        expect(Math.sign(found!.shift)).toBe(Math.sign(shift))
        expect(Math.abs(found!.shift - shift)).toBeLessThan(0.05)
      }),
      { numRuns: 30 },
    )
  })

  test('learns nothing from what is not a number', () => {
    expect(updateDrift(startDrift, { deviation: Number.NaN, seconds: 1 }, 0).drift).toBe(startDrift)
    expect(updateDrift(startDrift, { deviation: 1, seconds: 0 }, 0).drift).toBe(startDrift)
  })
})

describe('updateSensor()', () => {
  const sound: PowerWindow = {
    watts: 5,
    frames: 5,
    deviation: 0.1,
    fromClass: { deviation: 0.2, sigma: 0.2 },
    isModelled: false,
  }
  const read = (windows: readonly Partial<PowerWindow>[]) =>
    windows.reduce(
      (state: typeof startSensor, window, t) => updateSensor(state, { ...sound, watts: 5 + 1e-3 * t, ...window }),
      startSensor,
    )
  const many = (n: number, window: (t: number) => Partial<PowerWindow> = () => ({})) =>
    Array.from({ length: n }, (_, t) => window(t))

  test('believes a sensor with noise', () => {
    expect(read(many(500, (t) => ({ watts: 5 + Math.sin(t), deviation: 0.5 * Math.sin(t) }))).fault).toBeUndefined()
  })

  test('believes one jump, and not joules that jump to and fro', () => {
    expect(read([...many(50), { deviation: 3 }, ...many(5)]).fault).toBeUndefined()
    expect(read(many(20, (t) => ({ deviation: t % 2 === 0 ? 2 : -2 }))).fault).toBe('jumps')
  })

  test('does not believe a value that does not move, nor work without joules', () => {
    expect(read(many(40, () => ({ watts: 4.2 }))).fault).toBe('stuck')
    expect(read(many(40, () => ({ watts: 0, deviation: undefined }))).fault).toBe('stuck')
    expect(read(many(40, () => ({ watts: 4.2, isModelled: true }))).fault).toBeUndefined()
  })

  test('does not believe J/frame that is far from the class, and says nothing while the class is unknown', () => {
    const far = { deviation: Math.log(10), sigma: 0.2 }
    expect(read(many(30, () => ({ fromClass: far }))).fault).toBe('implausible')
    expect(read(many(30, () => ({ fromClass: undefined }))).fault).toBeUndefined()
    expect(read(many(30, () => ({ fromClass: { ...far, sigma: 1 } }))).fault).toBeUndefined()
  })

  test('believes it again after a minute of sound readings, whatever the fault was', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ watts: fc.double(), deviation: fc.double() }), { maxLength: 60 }), (faulty) => {
        expect(read([...faulty, ...many(150, (t) => ({ watts: 5 + 0.01 * (t % 7) }))]).fault).toBeUndefined()
      }),
    )
  })
})
