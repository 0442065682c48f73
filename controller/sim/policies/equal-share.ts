import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import { cheapestOption } from '../play.ts'
import type { MakePolicy } from '../policy.ts'
import { type Belief, type Learn, makeBeliefs, movingAverage } from './device-estimates.ts'

/** What an uplink carried last, or its moving average if that is less: as ours expects it. */
const AVERAGED = 0.8

/**
 * Each device takes the best option within an equal part of its uplink and of the fleet's power. Nobody gives away
 * what he does not need.
 */
const equalShareBy =
  (learn: Learn, slowest: (belief: Belief) => number): MakePolicy =>
  (fleet) => {
    const beliefs = makeBeliefs(fleet, learn)
    const cheapest = cheapestOption(fleet)
    const average = Float64Array.from(fleet.sites, ({ nominalBps }) => nominalBps)
    const powerW = fleet.powerCapW / fleet.devices.length - fleet.idleW
    return {
      decide({ readings, planned, capacityBps }) {
        beliefs.learn(readings)
        const share = fleet.sites.map(({ members }, s) => {
          average[s] = AVERAGED * average[s]! + (1 - AVERAGED) * capacityBps[s]!
          return Math.min(average[s]!, capacityBps[s]!) / members.length
        })
        return planned.map((_, i) => {
          let [best, most] = [cheapest, Number.NEGATIVE_INFINITY]
          for (const [j, option] of fleet.options.entries()) {
            const { latencyS, rateBps, activeW, worth } = beliefs.predict(i, j)
            const isKept = latencyS * slowest(beliefs.of(i)) <= DEADLINE_SHARE / option.frameRate
            if (isKept && rateBps <= share[fleet.devices[i]!.site]! && activeW <= powerW && worth > most)
              [best, most] = [j, worth]
          }
          return best
        })
      },
    }
  }

/** Greedy with a moving average and a fixed tenth of head room on latency. */
export const greedyEqualShare = equalShareBy(movingAverage(0.3), () => 1.1)

/**
 * After ALERT (Wan et al. 2020): a global slowdown with mean and variance for each device, in the linear domain, and
 * a latency bound at 99.9 %. The split into equal shares is ours; ALERT controls one machine.
 */
export const alertLike = equalShareBy(
  // Its Kalman filter with adaptive process noise settles near this gain.
  (value, sigma, measured) => {
    const noise = 0.03 ** 2
    const process = Math.min(0.01, Math.max(1e-4, 0.3 * (measured - value) ** 2))
    const gain = (sigma ** 2 + process) / (sigma ** 2 + process + noise)
    return { value: value + gain * (measured - value), sigma: Math.sqrt((1 - gain) * (sigma ** 2 + process)) }
  },
  ({ slowdown, slowdownSigma }) => (slowdown + 3.1 * Math.hypot(slowdownSigma, 0.03)) / slowdown,
)
