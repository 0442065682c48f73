import { sizeOf } from './tensor.ts'

/**
 * Where an axis goes when a value is shaped anew: to an axis of its own, or to the front of one that it shares with the
 * axes after it, as in [N, C, H, W] -> [N, C H W].
 *
 * @returns The new axis, and how many of its places each old one takes; undefined where places of two mix.
 */
export function reshapedAxis(
  before: readonly number[],
  after: readonly number[],
  axis: number,
): { axis: number; each: number } | undefined {
  const [lead, count, inner] = [sizeOf(before.slice(0, axis)), before[axis]!, sizeOf(before.slice(axis + 1))]
  for (const [at, dim] of after.entries()) {
    if (sizeOf(after.slice(0, at)) !== lead || dim % count !== 0) continue
    return inner % sizeOf(after.slice(at + 1)) === 0 ? { axis: at, each: dim / count } : undefined
  }
  return undefined
}
