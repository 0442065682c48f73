import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import type { SimFleet } from '../fleet.ts'
import type { makeBeliefs } from './device-estimates.ts'

/** A device's options from the lowest rate up, each worth more than the one before, within deadline and power share. */
export function listRungs(fleet: SimFleet, beliefs: ReturnType<typeof makeBeliefs>, i: number) {
  const powerW = fleet.powerCapW / fleet.devices.length - fleet.idleW
  const safe = fleet.options
    .map((option, j) => ({ j, option, ...beliefs.predict(i, j) }))
    .filter(({ latencyS, activeW, option }) => latencyS * 1.1 <= DEADLINE_SHARE / option.frameRate && activeW <= powerW)
    .sort((a, b) => a.rateBps - b.rateBps || b.worth - a.worth)
  let most = Number.NEGATIVE_INFINITY
  return safe.filter(({ worth }) => {
    if (worth <= most) return false
    most = worth
    return true
  })
}
