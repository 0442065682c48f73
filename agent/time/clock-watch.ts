import { join } from 'node:path'
import type { ClockQuality } from '@espalier/shared/messages/envelope'
import type { CommandRunner } from '../sensors/run-command.ts'
import { findText, listFolder, type SystemFiles } from '../sensors/system-files.ts'

/** No device was made before: a clock that says so was never set. */
const LEAST_WALL_MS = Date.UTC(2025, 0, 1)
/** A clock that runs on its own battery loses less than this between two starts. */
const MAX_BACK_MS = 3600 * 1000
const CHECK_EVERY_MS = 60_000

export interface ClockEvidence {
  /** The system says that its clock follows time servers. */
  readonly isSynchronised: boolean
  /** The wall clock was set from one with a battery when the kernel started. */
  readonly hasClockChip: boolean
  readonly wallMs: number
  /** The latest wall time that this agent ever wrote down; 0: none. */
  readonly knownWallMs: number
}

/** How good the wall clock is: the best that the evidence allows. */
export function clockQuality(evidence: ClockEvidence): ClockQuality {
  const { isSynchronised, hasClockChip, wallMs, knownWallMs } = evidence
  if (isSynchronised) return 'ntp'
  // A flat battery starts at 1970 or at the year of the chip.
  if (wallMs < LEAST_WALL_MS || wallMs < knownWallMs - MAX_BACK_MS) return 'none'
  if (hasClockChip) return 'rtc'
  return wallMs >= knownWallMs && knownWallMs > 0 ? 'restored' : 'none'
}

export interface ClockWatchOptions {
  readonly root: string
  readonly files: SystemFiles
  readonly run: CommandRunner
  readonly wallMs: () => number
  readonly monotonicMs: () => number
  readonly knownWallMs: number
}

/** Keeps asking whether the clock is set: on many boards it becomes so minutes after the start, or never. */
export class ClockWatch {
  readonly #options: ClockWatchOptions
  readonly #hasClockChip: boolean
  #isSynchronised = false
  #checkedMs = Number.NEGATIVE_INFINITY

  constructor(options: ClockWatchOptions) {
    this.#options = options
    this.#hasClockChip = hasClockChip(options)
  }

  get quality(): ClockQuality {
    const { wallMs, knownWallMs } = this.#options
    return clockQuality({
      isSynchronised: this.#isSynchronised,
      hasClockChip: this.#hasClockChip,
      wallMs: wallMs(),
      knownWallMs,
    })
  }

  /** Look again if it is time to; never rejects: a machine that cannot say is not synchronised. */
  async refresh(): Promise<void> {
    const nowMs = this.#options.monotonicMs()
    if (nowMs - this.#checkedMs < CHECK_EVERY_MS) return
    this.#checkedMs = nowMs
    this.#isSynchronised = await isSynchronised(this.#options)
  }
}

function hasClockChip({ root, files }: ClockWatchOptions): boolean {
  const folder = join(root, 'sys/class/rtc')
  try {
    return listFolder(files, folder).some((name) => findText(files, join(folder, name, 'hctosys')) === '1')
  } catch {
    return false
  }
}

async function isSynchronised({ root, files, run }: ClockWatchOptions): Promise<boolean> {
  try {
    // systemd-timesyncd makes this file once it has set the clock in this boot.
    if (findText(files, join(root, 'run/systemd/timesync/synchronized')) !== undefined) return true
    // Others (chrony, ntpd) tell the kernel, and this reads it there.
    return (await run('timedatectl', 'show', '--property=NTPSynchronized', '--value')).trim() === 'yes'
  } catch {
    return false
  }
}
