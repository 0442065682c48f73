import { StoreError } from '@espalier/shared/errors'
import type { Candidate, Finding, SensorSurroundings } from './candidate.ts'
import { refuse } from './refuse.ts'
import { errorCodeOf } from './system-files.ts'

/** From the sum of the regulators' outputs to the 5 V input of the board. */
export interface PmicCorrection {
  readonly slope: number
  readonly offsetW: number
}

/** Fitted by one author on one Pi 5 against one USB-C meter (github.com/jfikar/RPi5-power): set your own for better. */
export const PUBLISHED_CORRECTION: PmicCorrection = { slope: 1.1451, offsetW: 0.5879 }
const UNCERTAINTY = 0.1
/** One process for each reading; at 50 Hz a published trial was six times slower. */
const PERIOD_MS = 1000

export interface PmicReading {
  /** Sum of volts times amperes of all rails that have both. */
  readonly rawW: number
  readonly rails: readonly string[]
  /** Rails without one of the two. */
  readonly incomplete: readonly string[]
}

/** Voltage alone by design: the input has no current channel, the battery is that of the clock. */
const WITHOUT_CURRENT = ['EXT5V', 'BATT']
/** Of these, one missing rail would make a total that is wrong without looking so. */
const LARGE = ['VDD_CORE', '3V3_SYS', '1V8_SYS', '1V1_SYS', '0V8_SW', '3V7_WL_SW']

/**
 * Read what `vcgencmd pmic_read_adc` prints. Rails are paired by name: the numbers in brackets are channels.
 *
 * @throws {StoreError} If it is no such text, or lacks one of the rails that carry most of the power.
 */
export function parsePmic(text: string): PmicReading {
  const amperes = new Map<string, number>()
  const volts = new Map<string, number>()
  for (const [, rail, unit, value] of text.matchAll(/(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(-?[\d.]+)[AV]/g))
    (unit === 'A' ? amperes : volts).set(rail!, Number(value))
  const rails = [...amperes.keys()].filter((rail) => volts.has(rail))
  const named = new Set([...amperes.keys(), ...volts.keys()])
  const incomplete = [...named].filter((rail) => !rails.includes(rail) && !WITHOUT_CURRENT.includes(rail))
  const lost = LARGE.filter((rail) => !rails.includes(rail))
  if (lost.length > 0)
    throw new StoreError(
      `Cannot read sensor "pmic": found ${rails.length} rails in "${text.trim().slice(0, 60)}", without ${lost.join(', ')}, expected a current and a voltage for each`,
      { retryable: true },
    )
  return { rawW: rails.reduce((sum, rail) => sum + amperes.get(rail)! * volts.get(rail)!, 0), rails, incomplete }
}

/** Raspberry Pi 5 and its kin: currents and voltages of all regulators, through the firmware. */
export async function findPmic({ run }: SensorSurroundings, correction: PmicCorrection): Promise<Finding> {
  const toBoardW = ({ rawW }: PmicReading): number => correction.slope * rawW + correction.offsetW
  const read = async (): Promise<PmicReading> => parsePmic(await run('vcgencmd', 'pmic_read_adc'))
  try {
    const first = await read()
    const { rails, rawW, incomplete } = first
    const isPublished = correction === PUBLISHED_CORRECTION
    const candidate: Candidate = {
      preference: 'regulators',
      name: 'pmic:corrected',
      rails,
      watts: toBoardW(first),
      notes: [
        `${rawW.toFixed(3)} W at the regulators' outputs, x ${correction.slope} + ${correction.offsetW} W ${isPublished ? 'as published for one board' : 'as configured'}`,
        'what hangs on 5 V (USB, HAT, NVMe, fan) is not in it',
        ...(incomplete.length > 0 ? [`without ${incomplete.join(', ')}: one of volts and amperes is absent`] : []),
      ],
      measures: {
        kind: 'power',
        probe: {
          source: { source: 'pmic:corrected', rail: `${rails.length} regulators`, scope: 'board', method: 'integral' },
          uncertainty: UNCERTAINTY,
          periodMs: PERIOD_MS,
          read: async () => toBoardW(await read()),
        },
      },
    }
    return { candidates: [candidate], refused: [] }
  } catch (error) {
    // No such program: no Pi.
    return { candidates: [], refused: errorCodeOf(error) === 'ENOENT' ? [] : [refuse('pmic', error)] }
  }
}
