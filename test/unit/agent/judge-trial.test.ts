import { judgeTrial, type Second } from '@espalier/agent/update/judge-trial'
import { decide, logLikelihoodRatio } from '@espalier/agent/update/sequential-test'
import { seededRandom } from 'espalier/bench/seeded-random'
import { describe, expect, test } from 'vitest'

/** A second of five frames: latencies with a tail, bits, joules and processor time with a spread; each times a factor. */
function makeSeconds(
  random: () => number,
  count: number,
  factors: { latency?: number; bits?: number; joules?: number; cpu?: number } = {},
): Second[] {
  const spread = (): number => Math.exp(0.15 * (random() + random() + random() - 1.5))
  const tail = (): number => (random() < 0.05 ? 2 : 1)
  return Array.from({ length: count }, () => ({
    latency: Array.from({ length: 5 }, () => (factors.latency ?? 1) * spread() * tail()),
    bits: (factors.bits ?? 1) * spread(),
    joules: (factors.joules ?? 1) * spread(),
    cpu: (factors.cpu ?? 1) * spread(),
  }))
}

/** Second by second, as a trial is judged. */
function judgeAll(before: readonly Second[], now: readonly Second[]) {
  for (let seconds = 1; seconds <= now.length; seconds++) {
    const verdict = judgeTrial(before, now.slice(0, seconds))
    if (verdict.decision !== 'open') return { ...verdict, seconds }
  }
  return { decision: 'open' as const, seconds: now.length, metrics: {} }
}

describe('judgeTrial()', () => {
  test('rolls back fewer than one in a hundred of the versions that are no worse', () => {
    let regressed = 0
    for (let seed = 1; seed <= 1000; seed++) {
      const random = seededRandom(seed)
      if (judgeAll(makeSeconds(random, 10), makeSeconds(random, 320)).decision !== 'passed') regressed++
    }
    expect(regressed).toBeLessThan(10)
  })

  test.each(['latency', 'bits', 'joules', 'cpu'] as const)(
    'finds a version that takes twice the %s, with evidence',
    (what) => {
      let seconds = 0
      for (let seed = 1; seed <= 200; seed++) {
        const random = seededRandom(seed)
        const verdict = judgeAll(makeSeconds(random, 10), makeSeconds(random, 320, { [what]: 2 }))
        expect(verdict.decision).toBe('regressed')
        // Of ten seconds, the 95th percentile of a tail of one frame in twenty says little: the median does.
        const { now, before } = verdict.metrics[what === 'latency' ? 'medianLatency' : what]!
        expect(now / before).toBeGreaterThan(1.5)
        seconds += verdict.seconds
      }
      expect(seconds / 200).toBeLessThan(25)
    },
  )

  test('takes a tail that was there before for no regression', () => {
    const random = seededRandom(3)
    expect(judgeAll(makeSeconds(random, 30), makeSeconds(random, 320, { latency: 1.1 })).decision).toBe('passed')
  })

  test('decides after 300 seconds by what is likelier', () => {
    const before = makeSeconds(seededRandom(1), 10)
    // Between acceptable and unacceptable for ever: every fifth second is late.
    const now = makeSeconds(seededRandom(2), 300).map((second, i) =>
      i % 5 < 1 ? { ...second, latency: second.latency.map(() => 9) } : { ...second, latency: [0.5] },
    )
    expect(judgeTrial(before, now).decision).not.toBe('open')
  })
})

test('decide() is the test of Wald: thresholds and increments by hand', () => {
  const rule = { acceptable: 0.1, unacceptable: 0.5, alpha: 0.01, beta: 0.05 }
  expect(logLikelihoodRatio(rule, { exceeded: 1, observed: 1 })).toBeCloseTo(Math.log(5))
  expect(logLikelihoodRatio(rule, { exceeded: 0, observed: 1 })).toBeCloseTo(Math.log(5 / 9))
  // ln(0.95 / 0.01) = 4.55 and ln(0.05 / 0.99) = -2.99
  expect(decide(rule, { exceeded: 2, observed: 2 })).toBe('open')
  expect(decide(rule, { exceeded: 3, observed: 3 })).toBe('unacceptable')
  expect(decide(rule, { exceeded: 0, observed: 5 })).toBe('open')
  expect(decide(rule, { exceeded: 0, observed: 6 })).toBe('acceptable')
})
