import { svdOfProduct } from '../graph/svd.ts'
import { type Adapter, costPerRank, countNumbers, type Pair, pairOf } from './pair.ts'
import { chooseRank, energyOf, type RankLimits } from './rank.ts'

export interface TruncateLimits extends RankLimits {
  /** At most this share, 0 to 1, of the adapter's numbers, spent over all pairs where they hold most. */
  readonly share?: number
}

export interface TruncatedPair {
  readonly weight: string
  readonly before: number
  readonly after: number
  /** Share of the product's sum of squares that is left. */
  readonly energy: number
}

/**
 * Ranks whose components hold the most energy for each number that they cost, within a budget of numbers.
 *
 * @param values Singular values of each pair, from the largest down. @param costs Numbers for each rank of it.
 */
export function spendBudget(
  values: readonly (readonly number[])[],
  costs: readonly number[],
  budget: number,
): number[] {
  const components = values.flatMap((own, pair) => own.map((value) => ({ pair, worth: value ** 2 / costs[pair]! })))
  const ranks = values.map(() => 0)
  let left = budget
  // A pair's values fall, so that those taken are its first; and once one is too dear, its next ones are as well.
  for (const { pair, worth } of components.sort((a, b) => b.worth - a.worth)) {
    if (worth === 0 || costs[pair]! > left) continue
    ranks[pair]!++
    left -= costs[pair]!
  }
  return ranks
}

const valuesOf = (pair: Pair) =>
  svdOfProduct(pair.up, pair.down, { rows: pair.outputs, rank: pair.rank, columns: pair.inputs })

/**
 * Lower the ranks of an adapter by the singular values of its products. A pair that keeps its rank is left as it is;
 * one with none left is gone.
 */
export function truncateAdapter(
  adapter: Adapter,
  limits: TruncateLimits,
): { adapter: Adapter; report: readonly TruncatedPair[] } {
  const found = adapter.map(valuesOf)
  const allowed = adapter.map((pair, i) => Math.min(pair.rank, chooseRank(found[i]!.values, limits)))
  const ranks =
    limits.share === undefined
      ? allowed
      : spendBudget(
          found.map(({ values }, i) => values.slice(0, allowed[i]!)),
          adapter.map(costPerRank),
          Math.floor(limits.share * countNumbers(adapter) + 1e-9),
        )
  return {
    adapter: adapter.flatMap((pair, i): Pair[] => {
      const rank = ranks[i]!
      if (rank === 0) return []
      return [rank === pair.rank ? pair : pairOf(found[i]!, pair.weight, rank)]
    }),
    report: adapter.map(({ weight, rank }, i) => ({
      weight,
      before: rank,
      after: ranks[i]!,
      energy: energyOf(found[i]!.values, ranks[i]!),
    })),
  }
}
