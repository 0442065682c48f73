/** What happens where more tokens are to go than can go at once: they stay (ToMe), or go in further steps (FOLDER). */
export type Overflow = 'stay' | 'repeat'

/** The same number after each of `blocks` attentions (ToMe, Bolya et al. 2023; methods.md 10). */
export const tomeSchedule = (blocks: number, perBlock: number): number[] => Array<number>(blocks).fill(perBlock)

/** All of them after the last three, in proportion (FOLDER, Wang et al. 2025; methods.md 11). */
export function folderSchedule(
  blocks: number,
  total: number,
  shares: readonly [number, number, number] = [1, 0, 10],
): number[] {
  const own = shares.slice(Math.max(0, 3 - blocks))
  const sum = own.reduce((a, b) => a + b, 0)
  const last = own.map((share) => Math.floor((total * share) / sum))
  last[last.length - 1]! += total - last.reduce((a, b) => a + b, 0)
  return [...Array<number>(blocks - own.length).fill(0), ...last]
}

/**
 * How many tokens go at a time.
 *
 * @param kept Tokens that never merge: 1 with a class token, else 0.
 * @returns With overflow 'stay' at most one step, of half of the tokens that may merge; with 'repeat' as many as it
 *   takes, each of at most half of all but one, until two tokens are left.
 */
export function mergeSteps(
  tokens: number,
  wanted: number,
  { overflow = 'repeat', kept = 1 }: { overflow?: Overflow; kept?: number } = {},
): number[] {
  if (overflow === 'stay') {
    const step = Math.min(wanted, Math.floor((tokens - kept) / 2))
    return step < 1 ? [] : [step]
  }
  const steps: number[] = []
  for (let [left, rest] = [tokens, wanted]; rest > 0; ) {
    const step = Math.min(rest, Math.floor((left - 1) / 2))
    if (step < 1) break
    steps.push(step)
    left -= step
    rest -= step
  }
  return steps
}
