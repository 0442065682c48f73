import { createHash } from 'node:crypto'
import type { DeviceId } from '@espalier/shared/ids'
import type { Candidate } from './candidate.ts'
import type { RolloutSpec } from './rollout.ts'
import { matchesSelector, parseSelector } from './selector.ts'

/** A device's place in the order of a rollout, 0 to 1: the same whoever computes it, and another in the next rollout. */
export function placeOf(rolloutId: string, device: string): number {
  return createHash('sha256').update(`${rolloutId} ${device}`).digest().readUIntBE(0, 6) / 2 ** 48
}

/** Take devices one by one, each from the site and class of which fewest were taken; those in contact before others. */
function pickSpread(devices: readonly Candidate[], count: number): Candidate[] {
  const taken: Candidate[] = []
  const left = new Set(devices)
  const sites = new Map<string, number>()
  const classes = new Map<string, number>()
  while (taken.length < count && left.size > 0) {
    let best: Candidate | undefined
    let bestScore = Number.POSITIVE_INFINITY
    for (const device of left) {
      const score =
        (device.isConnected ? 0 : 1e9) + (sites.get(device.site) ?? 0) + (classes.get(device.deviceClass) ?? 0)
      if (score < bestScore) [best, bestScore] = [device, score]
    }
    taken.push(best!)
    left.delete(best!)
    sites.set(best!.site, (sites.get(best!.site) ?? 0) + 1)
    classes.set(best!.deviceClass, (classes.get(best!.deviceClass) ?? 0) + 1)
  }
  return taken
}

/**
 * Which device goes in which wave. Canaries come first; the rest of the first wave is spread over sites and classes; all
 * else is in the order of a hash of rollout and device.
 *
 * @param candidates Slots of the group; those of one device go together.
 * @returns Index of the wave of each device.
 */
export function assignWaves(
  rolloutId: string,
  spec: Pick<RolloutSpec, 'wavesPct' | 'canaries'>,
  candidates: readonly Candidate[],
): Map<DeviceId, number> {
  const places = new Map(candidates.map(({ device }) => [device, placeOf(rolloutId, device)]))
  const devices = [...new Map(candidates.map((candidate) => [candidate.device, candidate])).values()].sort(
    (a, b) => places.get(a.device)! - places.get(b.device)!,
  )
  const ends = spec.wavesPct.map((percent) => Math.ceil((percent * devices.length) / 100 - 1e-9))
  const selector = spec.canaries === undefined ? undefined : parseSelector(spec.canaries)
  const canaries = devices.filter(({ labels }) => selector !== undefined && matchesSelector(selector, labels))
  const others = devices.filter((device) => !canaries.includes(device))
  const first = [...canaries, ...pickSpread(others, (ends[0] ?? 0) - canaries.length)]
  const isFirst = new Set(first)
  const order = [...first, ...devices.filter((device) => !isFirst.has(device))]
  return new Map(
    order.map(({ device }, i) => [device, i < first.length ? 0 : ends.findIndex((end) => i < end)] as const),
  )
}

/** The wave of a device that came after the waves were assigned: where it would have been, or the one that runs. */
export function assignLate(
  rolloutId: string,
  spec: Pick<RolloutSpec, 'wavesPct'>,
  device: DeviceId,
  wave: number,
): number {
  const place = 100 * placeOf(rolloutId, device)
  return Math.max(
    wave,
    spec.wavesPct.findIndex((end) => place < end),
  )
}
