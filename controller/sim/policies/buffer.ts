import { EPOCH_S } from '../fleet.ts'
import { cheapestOption } from '../play.ts'
import type { MakePolicy } from '../policy.ts'
import { makeBeliefs, movingAverage } from './device-estimates.ts'
import { listRungs } from './rungs.ts'

/** Seconds of backlog below which the best rung runs, and above which the lowest. */
const RESERVOIR_S = 0.5
const FULL_S = 6

/** After BBA (Huang et al. 2014), seen from the sender: the rung falls in proportion to what waits to be sent. */
export const buffer: MakePolicy = (fleet) => {
  const beliefs = makeBeliefs(fleet, movingAverage(0.3))
  const cheapest = cheapestOption(fleet)
  const backlogS = fleet.sites.map(() => 0)
  return {
    decide({ readings, planned, capacityBps, loadBps }) {
      beliefs.learn(readings)
      for (const s of backlogS.keys())
        backlogS[s] = Math.max(0, Math.min(FULL_S, backlogS[s]! + EPOCH_S * (loadBps[s]! / capacityBps[s]! - 1)))
      return planned.map((_, i) => {
        const rungs = listRungs(fleet, beliefs, i)
        const fill = Math.max(0, backlogS[fleet.devices[i]!.site]! - RESERVOIR_S) / (FULL_S - RESERVOIR_S)
        return rungs[Math.round((1 - Math.min(1, fill)) * (rungs.length - 1))]?.j ?? cheapest
      })
    },
  }
}
