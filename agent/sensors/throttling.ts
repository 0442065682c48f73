import { StoreError } from '@espalier/shared/errors'
import type { SensorSurroundings } from './candidate.ts'
import { listHwmon } from './hwmon.ts'
import { attempt } from './system-files.ts'

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
  for (const chip of listHwmon(files, root, ['soctherm_oc', 'ina3221', 'rpi_volt'])) {
    const isSet = (alarm: string): boolean => attempt(() => chip.find(alarm)) === '1'
    for (const counter of ['oc1', 'oc2', 'oc3']) {
      const file = `${counter}_event_cnt`
      const count = attempt(() => (chip.find(file) === undefined ? undefined : chip.readNumber(file)))
      if (count !== undefined) events[counter] = count
    }
    if (isSet('curr1_crit_alarm')) now.push('over-current')
    if (isSet('in0_lcrit_alarm')) now.push('under-voltage')
  }
  return { now, past: [], events }
}
