import { join } from 'node:path'
import type { SystemPlace } from './candidate.ts'
import { attempt, findText } from './system-files.ts'

/** The most that a supply of these boards gives: 5 A at 5 V by contract. */
const LIMITS: ReadonlyArray<readonly [RegExp, watts: number]> = [
  [/Raspberry Pi Zero|Raspberry Pi [123]/, 12.5],
  [/Raspberry Pi 4/, 18],
  [/Raspberry Pi|Compute Module 5/, 27],
]
const ANY_BOARD_W = 300

/** More than this at the input of the board is a wrong shunt or a broken sensor. */
export function boardLimitW({ files, root }: SystemPlace): number {
  // An unreadable device tree says nothing about the board.
  const model = attempt(() => findText(files, join(root, 'proc/device-tree/model'))) ?? ''
  return LIMITS.find(([pattern]) => pattern.test(model))?.[1] ?? ANY_BOARD_W
}
