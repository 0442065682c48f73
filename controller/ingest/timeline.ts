/** What is known of one run of a device's agent. Its own clock is monotonic and starts at 0. */
export interface Boot {
  readonly boot: string
  /** As the device counts its boots; undefined if it does not. */
  readonly number: number | undefined
  /** Order in which boots were first heard of. */
  readonly met: number
  /** Wall time at monotonic 0 by messages that came at once: they carry the device's time, the controller knows its own. */
  readonly contactZeroMs: number | undefined
  /** Wall time at monotonic 0 by the device's own clock, while that was disciplined (`ntp`). */
  readonly ownZeroMs: number | undefined
  /** The latest monotonic time that was heard. */
  readonly lastMonoMs: number
}

/** When a boot began, to how far, and how that is known. */
export interface Beginning {
  readonly zeroMs: number
  /** Half-width. */
  readonly uncertaintyMs: number
  readonly source: 'contact' | 'ntp' | 'between'
}

/** What a message takes at most when it comes at once. */
const CONTACT_UNCERTAINTY_MS = 1000
const NTP_UNCERTAINTY_MS = 1000
/** A disciplined clock that is this far ahead of the controller's is not disciplined. */
const MAX_AHEAD_MS = 5 * 60_000

/** Boots in the order in which they happened, oldest first. */
export function inOrder(boots: readonly Boot[]): Boot[] {
  // Those without a number are from before the device counted, or lost count.
  return boots.toSorted((a, b) => (a.number ?? -1) - (b.number ?? -1) || a.met - b.met)
}

function known({ contactZeroMs, ownZeroMs }: Boot, latestMs: number): Beginning | undefined {
  if (contactZeroMs !== undefined)
    return { zeroMs: contactZeroMs, uncertaintyMs: CONTACT_UNCERTAINTY_MS, source: 'contact' }
  if (ownZeroMs !== undefined && ownZeroMs <= latestMs + MAX_AHEAD_MS)
    return { zeroMs: ownZeroMs, uncertaintyMs: NTP_UNCERTAINTY_MS, source: 'ntp' }
  return undefined
}

/**
 * Reconstruct when each boot of a device began. Where a boot was in contact, or had a disciplined clock, that says so.
 * Otherwise it lies between its neighbours: it ended before the next began, and is taken to have ended right then, which
 * a power cut and a watchdog both do; how much earlier it may have been is the uncertainty.
 *
 * @param boots Of one device.
 * @param nowMs Everything was over by then.
 */
export function reconstruct(boots: readonly Boot[], nowMs: number): Map<string, Beginning> {
  const order = inOrder(boots)
  const found = new Map<string, Beginning>()
  // Backwards: each unknown boot ends where the one after it begins.
  let endMs = nowMs
  for (const boot of order.toReversed()) {
    const latestMs = endMs - boot.lastMonoMs
    const beginning = known(boot, nowMs) ?? { zeroMs: latestMs, uncertaintyMs: 0, source: 'between' as const }
    found.set(boot.boot, beginning)
    endMs = Math.min(endMs, beginning.zeroMs)
  }
  // Forwards: no boot began before the one before it was last heard.
  let earliestMs: number | undefined
  for (const { boot, lastMonoMs } of order) {
    const beginning = found.get(boot)!
    if (beginning.source === 'between') {
      const room = beginning.zeroMs - (earliestMs ?? Number.NEGATIVE_INFINITY)
      // Others of this gap share it; without a lower bound nobody knows how long ago it was.
      found.set(boot, { ...beginning, uncertaintyMs: Math.max(0, room) })
    } else earliestMs = beginning.zeroMs + lastMonoMs
  }
  return found
}
