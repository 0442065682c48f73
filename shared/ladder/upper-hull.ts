/**
 * The upper hull of (rate, worth): from the cheapest choice on, each step gains worth at a falling worth per bit/s.
 *
 * @param byRate Positions in order of rate.
 * @returns Positions on the hull, in order of rate.
 */
export function upperHull<Item extends { readonly rateBps: number }>(
  choices: readonly Item[],
  byRate: readonly number[],
  worth: (choice: Item) => number,
): number[] {
  const hull: number[] = []
  const rate = (i: number) => choices[i]!.rateBps
  const value = (i: number) => worth(choices[i]!)
  for (const next of byRate) {
    const last = hull.at(-1)
    if (last !== undefined) {
      if (value(next) <= value(last)) continue
      if (rate(next) === rate(last)) hull.pop()
    }
    while (hull.length >= 2) {
      const [a, b] = [hull.at(-2)!, hull.at(-1)!]
      const before = (value(b) - value(a)) / (rate(b) - rate(a))
      const after = (value(next) - value(b)) / (rate(next) - rate(b))
      if (after < before) break
      hull.pop()
    }
    hull.push(next)
  }
  return hull
}
