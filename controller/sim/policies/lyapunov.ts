import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import { cheapestOption } from '../play.ts'
import type { MakePolicy } from '../policy.ts'
import { makeBeliefs, movingAverage } from './device-estimates.ts'

/** 1 / V: how fast a debt becomes a price. */
const STEP = 0.05

/**
 * Drift plus penalty with virtual queues, after JCAB (Zhang et al. 2022): each limit keeps a queue of what was
 * used beyond it, and devices weigh worth against queues. Limits hold in the long run, not in each epoch.
 */
export const lyapunov: MakePolicy = (fleet) => {
  const beliefs = makeBeliefs(fleet, movingAverage(0.3))
  const cheapest = cheapestOption(fleet)
  const queues = fleet.sites.map(() => 0.3)
  const movableW = fleet.powerCapW - fleet.idleW * fleet.devices.length
  let powerQueue = 0.3
  return {
    decide({ epoch, readings, planned, capacityBps, loadBps, powerW }) {
      beliefs.learn(readings)
      if (epoch > 0) {
        for (const s of queues.keys()) queues[s] = Math.max(0, queues[s]! + STEP * (loadBps[s]! / capacityBps[s]! - 1))
        powerQueue = Math.max(0, powerQueue + (STEP * (powerW - fleet.powerCapW)) / movableW)
      }
      return planned.map((_, i) => {
        const { site } = fleet.devices[i]!
        const ratePrice = (queues[site]! * fleet.sites[site]!.members.length) / capacityBps[site]!
        const powerPrice = (powerQueue * fleet.devices.length) / movableW
        let [best, most] = [cheapest, Number.NEGATIVE_INFINITY]
        for (const [j, option] of fleet.options.entries()) {
          const { latencyS, rateBps, activeW, worth } = beliefs.predict(i, j)
          if (latencyS * 1.1 > DEADLINE_SHARE / option.frameRate) continue
          const score = worth - ratePrice * rateBps - powerPrice * activeW
          if (score > most) [best, most] = [j, score]
        }
        return best
      })
    },
  }
}
