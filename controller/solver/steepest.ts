/** Where a run of steps was cut: those before `end` fit, the one at `end` (if any) fits only in part. */
export interface Cut {
  readonly end: number
  /** What the steps that fit leave. */
  readonly room: number
}

function swap(order: Int32Array, a: number, b: number): void {
  const kept = order[a]!
  order[a] = order[b]!
  order[b] = kept
}

/**
 * Reorder a run of steps so that the steepest that fit together come first: a quickselect by weight, linear in the
 * number of steps where sorting is not (Dyer 1984, Zemel 1984). Steps of equal slope fit in order of their number.
 *
 * @param order Numbers of steps; `from` to `to` is reordered.
 * @param slope, weight Of each step; weights > 0.
 */
export function cutSteepest(
  order: Int32Array,
  from: number,
  to: number,
  slope: Float64Array,
  weight: Float64Array,
  capacity: number,
): Cut {
  let room = capacity
  let low = from
  let high = to
  while (low < high) {
    const pivot = slope[order[(low + high) >>> 1]!]!
    // Three ways: steeper [low, steeper), equal [steeper, i), flatter [flatter, high).
    let steeper = low
    let flatter = high
    let steeperWeight = 0
    let equalWeight = 0
    for (let i = low; i < flatter; ) {
      const step = order[i]!
      const s = slope[step]!
      if (s > pivot) {
        steeperWeight += weight[step]!
        swap(order, steeper++, i++)
      } else if (s < pivot) swap(order, i, --flatter)
      else {
        equalWeight += weight[step]!
        i++
      }
    }
    if (steeperWeight > room) {
      high = steeper
      continue
    }
    room -= steeperWeight
    if (equalWeight > room) {
      if (flatter - steeper > 1) order.subarray(steeper, flatter).sort()
      let end = steeper
      while (weight[order[end]!]! <= room) room -= weight[order[end++]!]!
      return { end, room }
    }
    room -= equalWeight
    low = flatter
  }
  return { end: low, room }
}
