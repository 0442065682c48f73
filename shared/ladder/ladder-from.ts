import type { CapsuleSlot } from '../messages/capsule.ts'
import type { Rung } from '../messages/controller.ts'

/** Whether it asks for less of one and no more of the other. */
const asksLess = (a: Rung, b: Rung): boolean =>
  a.rateBps <= b.rateBps && a.powerW <= b.powerW && (a.rateBps < b.rateBps || a.powerW < b.powerW)

/** A rung and those that a device may fall to from it: each asks for less than the one before. */
export function ladderFrom({ ladder }: CapsuleSlot, rung: number): Rung[] {
  const below: Rung[] = [ladder[rung]!]
  for (const next of ladder.slice(rung + 1)) {
    const last = below.at(-1)!
    if (asksLess(next, last)) below.push(next)
  }
  return below
}
