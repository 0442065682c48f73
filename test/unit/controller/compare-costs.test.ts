import { compareCosts, type LogCosts } from '@espalier/controller/rollout/compare-costs'
import { mannWhitneyP, normalTail, shiftBetween, wilcoxonP } from '@espalier/controller/rollout/rank-tests'
import { seededRandom } from '@espalier/controller/sim/random'
import { describe, expect, test } from 'vitest'

describe('rank tests', () => {
  test('give the p-values of the tables', () => {
    // One-sided, Mann and Whitney 1947: U = 2 of 4 x 5, and the extreme of 3 x 3.
    expect(mannWhitneyP([5, 7, 8, 9], [1, 2, 3, 4, 6])).toBeCloseTo(2 / 126, 10)
    expect(mannWhitneyP([4, 5, 6], [1, 2, 3])).toBeCloseTo(1 / 20, 10)
    expect(mannWhitneyP([1, 2, 3], [4, 5, 6])).toBe(1)
    // Wilcoxon 1945: rank sum of negatives 1 of 5, and none of 6.
    expect(wilcoxonP([-1, 2, 3, 4, 5])).toBeCloseTo(2 / 32, 10)
    expect(wilcoxonP([1, 2, 3, 4, 5, 6])).toBeCloseTo(1 / 64, 10)
    expect(normalTail(1.959964)).toBeCloseTo(0.025, 6)
  })

  test('agree on both sides of the size from which they are approximated', () => {
    const random = seededRandom(3)
    for (let round = 0; round < 20; round++) {
      const [x, y] = [0.4, 0].map((shift) => Array.from({ length: 20 }, () => random.normal() + shift))
      const exact = mannWhitneyP(x!, y!)
      // One value more on a side, in the middle of all, moves a p-value little.
      const approximate = mannWhitneyP(x!, [...y!, shiftBetween([...x!, ...y!], [0])])
      expect(Math.abs(exact - approximate)).toBeLessThan(0.03)
    }
  })
})

describe('a comparison of costs', () => {
  const tolerance = { latencyP95: 0.1, joulesPerFrame: 0.1, bitsPerFrame: 0.1 }
  const random = seededRandom(7)
  /** Devices whose costs changed by a factor, each a little differently, with what changed for all. */
  const devices = (count: number, factor: number, common = 1): LogCosts[] =>
    Array.from({ length: count }, () => {
      const log = () => Math.log(factor * common) + 0.03 * random.normal()
      return {
        latencyP95: log(),
        joulesPerFrame: Math.log(common) + 0.03 * random.normal(),
        bitsPerFrame: Math.log(common),
      }
    })
  const latency = (newer: LogCosts[], older: LogCosts[], isInterim = false) =>
    compareCosts(newer, older, tolerance, isInterim).find(({ metric }) => metric === 'latencyP95')!

  test('finds a slower version, and not one that is as slow as all others became meanwhile', () => {
    expect(latency(devices(10, 1.3), devices(100, 1))).toMatchObject({ method: 'mann-whitney', isRegression: true })
    expect(latency(devices(10, 1, 1.5), devices(100, 1, 1.5))).toMatchObject({
      method: 'mann-whitney',
      isRegression: false,
    })
    expect(latency(devices(10, 1.3), devices(100, 1)).changePct).toBeCloseTo(30, -1)
  })

  test('lets a version be worse by less than the tolerance, however many devices say so', () => {
    expect(latency(devices(500, 1.06), devices(500, 1)).isRegression).toBe(false)
  })

  test('compares devices with themselves where nobody has the old version, and asks for more where a test cannot tell', () => {
    expect(latency(devices(20, 1.3), [])).toMatchObject({ method: 'wilcoxon', isRegression: true })
    expect(latency(devices(1, 1.1), devices(2, 1))).toMatchObject({ method: 'threshold', isRegression: false })
    expect(latency(devices(1, 1.5), devices(2, 1))).toMatchObject({ method: 'threshold', isRegression: true })
    expect(latency(devices(1, 1.5), devices(2, 1), true).isRegression).toBe(false)
    expect(latency([{}], devices(10, 1))).toMatchObject({ method: 'none', newDevices: 0, isRegression: false })
  })

  test('stops a good version seldom: in fewer than 2 of 100 waves at the end', () => {
    let stopped = 0
    for (let wave = 0; wave < 300; wave++)
      // On the edge of the tolerance, where it is hardest.
      if (compareCosts(devices(20, 1.1), devices(60, 1), tolerance, false).some(({ isRegression }) => isRegression))
        stopped++
    expect(stopped).toBeLessThanOrEqual(6)
  })

  test('asks for more while a wave soaks than at its end', () => {
    const [newer, older] = [devices(5, 1.2), devices(8, 1)]
    const atEnd = latency(newer, older)
    expect(atEnd).toMatchObject({ method: 'mann-whitney', isRegression: true })
    expect(latency(newer, older, true).isRegression).toBe(false)
  })
})
