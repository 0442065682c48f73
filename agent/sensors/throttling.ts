import { StoreError } from '@espalier/shared/errors'
import type { SensorSurroundings } from './candidate.ts'
import { listHwmon } from './hwmon.ts'

/** Bits of `vcgencmd get_throttled`: now, and 16 higher since the machine started. */
const PI_FLAGS = ['under-voltage', 'frequency-capped', 'throttled', 'soft-temperature-limit']

export interface Throttling {
  /** What holds the device back now. */
  readonly now: readonly string[]
  /** What did since it was started. */
  readonly past: readonly string[]
  /** Counters of events since then. Those of oc3 climb on healthy boards too: look at differences. */
  readonly events: Readonly<Record<string, number>>
}

/** @throws {StoreError} If it is no such text. @example parseThrottled('throttled=0x50000').past // under-voltage, throttled */
export function parseThrottled(text: string): Pick<Throttling, 'now' | 'past'> {
  const match = /^throttled=0x([0-9a-f]+)\s*$/.exec(text)
  if (match === null)
    throw new StoreError(
      `Cannot read "vcgencmd get_throttled": found "${text.slice(0, 60)}", expected throttled=0x...`,
      {
        retryable: true,
      },
    )
  const bits = Number.parseInt(match[1]!, 16)
  return {
    now: PI_FLAGS.filter((_, bit) => (bits & (1 << bit)) !== 0),
    past: PI_FLAGS.filter((_, bit) => (bits & (1 << (bit + 16))) !== 0),
  }
}

/** What the kernel tells of Jetsons (over-current events, alarms of the input) and of Raspberry Pis (under-voltage). */
export function readAlarms({ files, root }: SensorSurroundings): Throttling {
  const now: string[] = []
  const events: Record<string, number> = {}
  const look = (act: () => void): void => {
    try {
      act()
    } catch {
      // This alarm cannot be read; others may.
    }
  }
  for (const chip of listHwmon(files, root, ['soctherm_oc', 'ina3221', 'rpi_volt'])) {
    for (const n of [1, 2, 3])
      look(() => {
        if (chip.find(`oc${n}_event_cnt`) !== undefined) events[`oc${n}`] = chip.readNumber(`oc${n}_event_cnt`)
      })
    look(() => {
      if (chip.find('curr1_crit_alarm') === '1') now.push('over-current')
    })
    look(() => {
      if (chip.find('in0_lcrit_alarm') === '1') now.push('under-voltage')
    })
  }
  return { now, past: [], events }
}
