import type { CapsuleSlot } from '../messages/capsule.ts'
import type { Rung } from '../messages/controller.ts'

/** A rung and those that a device may fall to from it: each asks for less rate, and no more power, than the one before. */
export function ladderFrom({ ladder }: CapsuleSlot, rung: number): Rung[] {
  const below: Rung[] = [ladder[rung]!]
  for (const next of ladder.slice(rung + 1)) {
    const last = below.at(-1)!
    if (next.rateBps < last.rateBps && next.powerW <= last.powerW) below.push(next)
  }
  return below
}
