import { cheapestOption } from '../play.ts'
import type { MakePolicy } from '../policy.ts'
import { makeBeliefs, movingAverage } from './device-estimates.ts'
import { listRungs } from './rungs.ts'

const CALM_EPOCHS = 3

/**
 * After AWStream (Zhang et al. 2018): a ladder of rate against quality for each device; congestion takes it to the
 * highest rung below its part of the uplink, three calm epochs allow one rung more.
 */
export const ladder: MakePolicy = (fleet) => {
  const beliefs = makeBeliefs(fleet, movingAverage(0.3))
  const cheapest = cheapestOption(fleet)
  const rungOf = fleet.devices.map(() => 0)
  const calm = fleet.sites.map(() => 0)
  return {
    decide({ readings, planned, capacityBps, loadBps }) {
      beliefs.learn(readings)
      for (const s of calm.keys()) calm[s] = loadBps[s]! > capacityBps[s]! ? 0 : calm[s]! + 1
      return planned.map((_, i) => {
        const { site } = fleet.devices[i]!
        const rungs = listRungs(fleet, beliefs, i)
        if (calm[site] === 0) {
          const share = capacityBps[site]! / fleet.sites[site]!.members.length
          rungOf[i] = Math.max(
            0,
            rungs.findLastIndex(({ rateBps }) => rateBps <= share),
          )
        } else if (calm[site]! % CALM_EPOCHS === 0) rungOf[i]!++
        rungOf[i] = Math.max(0, Math.min(rungs.length - 1, rungOf[i]!))
        return rungs[rungOf[i]!]?.j ?? cheapest
      })
    },
  }
}
