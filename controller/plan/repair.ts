import type { Choice, Problem } from './problem.ts'
import { compareIds, isFeasible, type Site } from './site.ts'

/** In sites up to this size, pairs of slots are tried too: there one slot's jump is a large part of the limit. */
const MAX_SLOTS_FOR_PAIRS = 12
const MAX_ROUNDS = 200

interface Move {
  readonly site: Site
  /** Slot position in the problem and its new choice. */
  readonly steps: readonly { position: number; to: number }[]
  readonly gain: number
  readonly rateBps: number
  readonly powerMw: number
}

/** What is left of each limit under the present choice. */
class Slack {
  powerMw: number
  readonly #rateBps = new Map<Site, number>()

  constructor(problem: Problem, sites: readonly Site[], chosen: readonly number[], limitMw: number) {
    this.powerMw = limitMw
    for (const site of sites) {
      let rateBps = site.capacityBps
      for (const position of site.positions) {
        const choice = problem.slots[position]!.choices[chosen[position]!]!
        rateBps -= choice.rateBps
        this.powerMw -= choice.powerMw
      }
      this.#rateBps.set(site, rateBps)
    }
  }

  rateBps(site: Site): number {
    return this.#rateBps.get(site)!
  }

  take(move: Move, chosen: number[]): void {
    for (const { position, to } of move.steps) chosen[position] = to
    this.powerMw -= move.powerMw
    this.#rateBps.set(move.site, this.rateBps(move.site) - move.rateBps)
  }
}

function* moves(problem: Problem, site: Site, chosen: readonly number[]): Generator<Move & { id: string }> {
  for (const position of site.positions) {
    const { choices } = problem.slots[position]!
    const from = choices[chosen[position]!]!
    for (const [to, choice] of choices.entries())
      if (to !== chosen[position]) yield { site, steps: [{ position, to }], ...difference(from, choice), id: choice.id }
  }
}

function difference(from: Choice, to: Choice): { gain: number; rateBps: number; powerMw: number } {
  return {
    gain: to.utility - from.utility,
    rateBps: to.rateBps - from.rateBps,
    powerMw: to.powerMw - from.powerMw,
  }
}

/** Step down where a milliwatt costs the least utility, until the limit is kept or nothing is left to step down. */
function cutPower(problem: Problem, sites: readonly Site[], chosen: number[], slack: Slack): void {
  while (slack.powerMw < 0) {
    let best: (Move & { id: string }) | undefined
    let bestLoss = Number.POSITIVE_INFINITY
    for (const site of sites)
      for (const move of moves(problem, site, chosen)) {
        // A site beyond its limit must not get worse; one within it must stay within.
        if (move.powerMw >= 0 || move.rateBps > Math.max(0, slack.rateBps(site))) continue
        // More than needed is not worth more.
        const saved = Math.min(-move.powerMw, -slack.powerMw)
        const loss = -move.gain / saved
        if (loss < bestLoss || (loss === bestLoss && best !== undefined && compareIds(move.id, best.id) < 0))
          [best, bestLoss] = [move, loss]
      }
    if (best === undefined) return
    slack.take(best, chosen)
  }
}

function bestUpgrade(problem: Problem, site: Site, chosen: readonly number[], slack: Slack): Move | undefined {
  let best: (Move & { id: string }) | undefined
  for (const move of moves(problem, site, chosen)) {
    if (move.gain <= 0 || move.rateBps > slack.rateBps(site) || move.powerMw > slack.powerMw) continue
    if (best === undefined || move.gain > best.gain || (move.gain === best.gain && compareIds(move.id, best.id) < 0))
      best = move
  }
  return best
}

/** One slot steps up with what another gives back. */
function bestPair(problem: Problem, site: Site, chosen: readonly number[], slack: Slack): Move | undefined {
  if (site.positions.length < 2 || site.positions.length > MAX_SLOTS_FOR_PAIRS) return undefined
  const all = [...moves(problem, site, chosen)]
  const ups = all.filter((move) => move.gain > 0)
  const downs = all.filter((move) => move.gain <= 0)
  let best: Move | undefined
  for (const up of ups)
    for (const down of downs) {
      const gain = up.gain + down.gain
      if (gain <= (best?.gain ?? 0) || up.steps[0]!.position === down.steps[0]!.position) continue
      const rateBps = up.rateBps + down.rateBps
      const powerMw = up.powerMw + down.powerMw
      if (rateBps > slack.rateBps(site) || powerMw > slack.powerMw) continue
      best = { site, steps: [...up.steps, ...down.steps], gain, rateBps, powerMw }
    }
  return best
}

/**
 * Turn the relaxation's rounded choice into a good plan that keeps every limit that can be kept.
 *
 * @param chosen Changed in place.
 */
export function repair(
  problem: Problem,
  sites: readonly Site[],
  chosen: number[],
  limitMw: number,
): { isPowerKept: boolean } {
  const slack = new Slack(problem, sites, chosen, limitMw)
  cutPower(problem, sites, chosen, slack)
  if (slack.powerMw < 0) return { isPowerKept: false }
  for (const site of sites) {
    if (!isFeasible(site)) continue
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const move = bestUpgrade(problem, site, chosen, slack) ?? bestPair(problem, site, chosen, slack)
      if (move === undefined) break
      slack.take(move, chosen)
    }
  }
  return { isPowerKept: true }
}
