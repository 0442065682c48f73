import { predictFactor, startFactor, updateFactor } from '../estimate/factor.ts'
import { learnLatencyK, NOMINAL_MISS, START_LATENCY_K } from '../estimate/latency-bound.ts'
import { nominalLatencyS } from './fleet.ts'
import { cheapestOption } from './play.ts'
import { seededRandom } from './random.ts'
import type { World } from './world.ts'

/** How well a bound on the next epoch's latency holds, and what it costs. */
export interface Calibration {
  /** Share of epochs in which the true latency lay above the bound. */
  readonly missed: number
  readonly nominal: number
  /** Mean of log(bound / prediction). */
  readonly margin: number
  /** The margin of a moving average (0.3) whose k was chosen in hindsight to miss exactly the nominal share. */
  readonly averageMargin: number
}

const NOISE = 0.03
const SPIKE_SHARE = 0.01
const LOST_SHARE = 0.03
const WARM_UP_EPOCHS = 60
const WEIGHT = 0.3

/** Predict each device's latency one epoch ahead from noisy readings, with bounds learned online from readings alone. */
export function calibrateLatency(world: World, seed: number): Calibration {
  const random = seededRandom(seed + 104729)
  const { devices, options } = world.fleet
  const j = cheapestOption(world.fleet)
  const option = options[j]!
  const factors = devices.map(() => startFactor({ mean: 0, variance: 0.2 ** 2, noise: 0.002 }))
  const averages = devices.map(() => ({ mean: 0, deviation: 0.1 }))
  let k = START_LATENCY_K
  let [judged, missed, margin] = [0, 0, 0]
  const scores: number[] = []
  let deviationSum = 0
  for (let t = 0; t < world.epochs; t++) {
    for (const [i, device] of devices.entries()) {
      const truth = Math.log(world.latencyS(t, i, j) / nominalLatencyS(device, option))
      const { mean, variance } = predictFactor(factors[i]!, option.id)
      const average = averages[i]!
      if (t >= WARM_UP_EPOCHS) {
        judged++
        if (truth > mean + k * Math.sqrt(variance)) missed++
        margin += k * Math.sqrt(variance)
        scores.push((truth - average.mean) / average.deviation)
        deviationSum += average.deviation
      }
      if (random.uniform() < LOST_SHARE) continue
      const spike = random.uniform() < SPIKE_SHARE ? Math.log(1.5 + 1.5 * random.uniform()) : 0
      const reading = truth + NOISE * random.normal() + spike
      const before = factors[i]!
      const after = updateFactor(before, option.id, reading)
      factors[i] = after
      k = learnLatencyK(k, { before, after }, option.id, reading)
      const difference = reading - average.mean
      averages[i] = {
        mean: average.mean + WEIGHT * difference,
        deviation: Math.max(1e-3, average.deviation + 0.05 * (Math.abs(difference) - average.deviation)),
      }
    }
  }
  scores.sort((a, b) => a - b)
  const hindsightK = scores[Math.min(scores.length - 1, Math.floor((1 - NOMINAL_MISS) * scores.length))]!
  return {
    missed: missed / judged,
    nominal: NOMINAL_MISS,
    margin: margin / judged,
    averageMargin: (hindsightK * deviationSum) / judged,
  }
}
