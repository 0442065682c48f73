import { nominalJoules, nominalLatencyS, type SimFleet, worthOf } from '../fleet.ts'
import type { Reading } from '../policy.ts'

/** What the baselines believe of one device: factors on the cards, and decibels. */
export interface Belief {
  readonly slowdown: number
  readonly slowdownSigma: number
  readonly content: number
  readonly power: number
  readonly qualityDb: number
}

/** How a baseline learns one number, with its deviation. */
export type Learn = (value: number, sigma: number, measured: number) => { value: number; sigma: number }

/** Exponentially weighted means of value and absolute deviation. */
export const movingAverage =
  (weight: number): Learn =>
  (value, sigma, measured) => ({
    value: value + weight * (measured - value),
    sigma: sigma + weight * (1.25 * Math.abs(measured - value) - sigma),
  })

const start: Belief = { slowdown: 1, slowdownSigma: 0.2, content: 1, power: 1, qualityDb: 0 }

/** Beliefs of all devices, updated by readings in place. */
export function makeBeliefs(fleet: SimFleet, learn: Learn) {
  const beliefs: Belief[] = fleet.devices.map(() => start)
  return {
    of: (i: number): Belief => beliefs[i]!,
    learn(readings: readonly (Reading | undefined)[]): void {
      for (const [i, reading] of readings.entries()) {
        if (reading === undefined) continue
        const [device, option, belief] = [fleet.devices[i]!, fleet.options[reading.option]!, beliefs[i]!]
        const slowdown = learn(
          belief.slowdown,
          belief.slowdownSigma,
          reading.latencyS / nominalLatencyS(device, option),
        )
        beliefs[i] = {
          slowdown: slowdown.value,
          slowdownSigma: slowdown.sigma,
          content: learn(belief.content, 0.1, reading.bitsPerFrame / option.bitsPerFrame).value,
          power: learn(belief.power, 0.1, reading.joulesPerFrame / nominalJoules(device, option)).value,
          qualityDb:
            reading.psnrDb === undefined
              ? belief.qualityDb
              : belief.qualityDb + 0.3 * (reading.psnrDb - option.psnrDb - belief.qualityDb),
        }
      }
    },
    /** Costs and worth of an option by what is believed; power above idle. */
    predict(i: number, j: number): { latencyS: number; rateBps: number; activeW: number; worth: number } {
      const [device, option, belief] = [fleet.devices[i]!, fleet.options[j]!, beliefs[i]!]
      return {
        latencyS: nominalLatencyS(device, option) * belief.slowdown,
        rateBps: option.bitsPerFrame * option.frameRate * belief.content,
        activeW: nominalJoules(device, option) * option.frameRate * belief.power,
        worth: device.weight * worthOf(option.psnrDb + belief.qualityDb, option),
      }
    },
  }
}
