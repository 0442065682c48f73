import type { DeviceId } from '@espalier/shared/ids'

/** After a configuration changed, measurements of the last ten seconds still hold what ran before. */
const SETTLING_MS = 14_000
/** So few devices of a fleet do not hide what all of it draws. */
const MOST_UNSETTLED = 0.05

/** What limits are over: the sites behind a gateway, and how many devices are planned. */
export interface Extent {
  readonly sitesOf: (gateway: string) => readonly string[]
  readonly devices: number
}

/**
 * Which limits may be judged by what is measured. Each by what changed on it: in a large fleet something changes in every
 * plan, and hardly ever on one site.
 */
export class Settling {
  readonly #changedMs = new Map<DeviceId, number>()
  readonly #siteMs = new Map<string, number>()
  readonly #judgedMs = new Map<string, number>()

  /** A device was told to run another configuration. */
  changed(device: DeviceId, site: string, nowMs: number): void {
    this.#changedMs.set(device, nowMs)
    this.#siteMs.set(site, nowMs)
  }

  /** A limit was exceeded: the next plan settles before it is judged. */
  judged(key: string, nowMs: number): void {
    this.#judgedMs.set(key, nowMs)
  }

  /**
   * Whether one may learn from what is measured now.
   *
   * @returns By key: `site:<id>`, `gateway:<id>`, `power`, `carbon`.
   */
  at(nowMs: number, { sitesOf, devices }: Extent): (key: string) => boolean {
    const isOver = (ms: number | undefined): boolean => ms === undefined || nowMs - ms >= SETTLING_MS
    for (const [device, ms] of this.#changedMs) if (isOver(ms)) this.#changedMs.delete(device)
    const isFleetSettled = this.#changedMs.size <= MOST_UNSETTLED * devices
    return (key) => {
      if (!isOver(this.#judgedMs.get(key))) return false
      const at = key.indexOf(':')
      if (at < 0) return isFleetSettled
      const id = key.slice(at + 1)
      return (key.startsWith('site:') ? [id] : sitesOf(id)).every((site) => isOver(this.#siteMs.get(site)))
    }
  }
}
