export interface Tile {
  /** Shares of the whole, 0..1. */
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** The worst aspect of tiles that share a side of the given length. */
function worst(areas: readonly number[], side: number): number {
  const sum = areas.reduce((total, area) => total + area, 0)
  const thickness = sum / side
  return Math.max(...areas.map((area) => Math.max(thickness ** 2 / area, area / thickness ** 2)))
}

/**
 * A squarified treemap (Bruls, Huizing and van Wijk, 2000): tiles of the given areas, as near to squares as a greedy choice
 * makes them.
 *
 * @param values Positive, falling.
 * @param aspect Width of the whole over its height.
 */
export function squarify(values: readonly number[], aspect: number): Tile[] {
  const total = values.reduce((sum, value) => sum + value, 0)
  if (!(total > 0)) return []
  const tiles: Tile[] = []
  let [x, y, width, height] = [0, 0, aspect, 1]
  const areas = values.map((value) => (value / total) * aspect)
  for (let at = 0; at < areas.length; ) {
    const side = Math.min(width, height)
    let end = at + 1
    while (end < areas.length && worst(areas.slice(at, end + 1), side) <= worst(areas.slice(at, end), side)) end++
    const row = areas.slice(at, end)
    const thickness = row.reduce((sum, area) => sum + area, 0) / side
    let along = 0
    for (const area of row) {
      const length = area / thickness
      tiles.push(
        width >= height
          ? { x: x / aspect, y: y + along, width: thickness / aspect, height: length }
          : { x: (x + along) / aspect, y, width: length / aspect, height: thickness },
      )
      along += length
    }
    if (width >= height) {
      x += thickness
      width -= thickness
    } else {
      y += thickness
      height -= thickness
    }
    at = end
  }
  return tiles
}
