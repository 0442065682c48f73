import { StoreError } from '@espalier/shared/errors'
import type { Candidate, Finding, Refusal, SystemPlace } from './candidate.ts'
import { type HwmonChip, listHwmon } from './hwmon.ts'
import { boardLimitW } from './plausible.ts'
import { refuse } from './refuse.ts'
import { apartReaderOf } from './system-files.ts'

interface Kind {
  /** How long one measurement takes, as the driver sets the chip up; `update_interval` says it where it is there. */
  readonly periodMs: number
  /** Steps of the voltage, volts. */
  readonly stepV: number
}

/** in0 is the voltage of the shunt; in1 and curr1 are the supply's. */
const KINDS: Readonly<Record<string, Kind>> = {
  ina219: { periodMs: 70, stepV: 4e-3 },
  ina220: { periodMs: 70, stepV: 4e-3 },
  ina226: { periodMs: 35, stepV: 1.25e-3 },
  ina230: { periodMs: 35, stepV: 1.25e-3 },
  ina231: { periodMs: 35, stepV: 1.25e-3 },
  ina260: { periodMs: 35, stepV: 1.25e-3 },
  ina228: { periodMs: 35, stepV: 2e-4 },
  ina237: { periodMs: 35, stepV: 3.125e-3 },
  ina238: { periodMs: 35, stepV: 3.125e-3 },
}

/** Chip and shunt together, without a calibration of its own. */
const UNCERTAINTY = 0.03
/** Milliamperes are whole numbers. */
const STEP_A = 1e-3

function candidateOf({ root, files }: SystemPlace, chip: HwmonChip, kind: Kind): Candidate {
  const rail = chip.find('in1_label') || chip.find('label') || 'input'
  const name = `${chip.name}:${rail}`
  const read = (): number => {
    const product = (chip.readNumber('in1_input') * chip.readNumber('curr1_input')) / 1e6
    // power1_input comes in steps of 20 to 25 mW: too coarse for a small board.
    if (Number.isFinite(product)) return product
    throw new StoreError(`Cannot read sensor "${name}": found no number of watts`, { retryable: true })
  }
  const watts = read()
  const scope = 'board' as const
  const uncertaintyW =
    (STEP_A * chip.readNumber('in1_input')) / 1000 + (kind.stepV * chip.readNumber('curr1_input')) / 1000
  const common = { uncertainty: UNCERTAINTY, uncertaintyW: Math.abs(uncertaintyW) / 2 }
  if (chip.find('energy1_input') !== undefined)
    return {
      preference: 'input-counter',
      name,
      rails: [rail],
      watts,
      notes: ['counts in the chip: nothing is lost between readings'],
      measures: {
        kind: 'energy',
        probe: {
          source: { source: name, rail, scope, method: 'counter' },
          ...common,
          periodMs: 1000,
          isLocal: true,
          rangesJ: [undefined],
          read: () => [chip.readNumber('energy1_input') / 1e6],
        },
      },
    }
  const interval = Number(chip.find('update_interval'))
  return {
    preference: 'board-input',
    name,
    rails: [rail],
    watts,
    notes: ['counts all that is wired behind its shunt'],
    measures: {
      kind: 'power',
      probe: {
        source: { source: name, rail, scope, method: 'integral' },
        ...common,
        periodMs: interval > 0 ? interval : kind.periodMs,
        read,
        readApart: apartReaderOf(files, root, name),
      },
    },
  }
}

/** Power monitors on I2C that somebody wired to the supply, and those on carriers (AGX Thor: INA238 at VIN). */
export function findIna2xx(place: SystemPlace): Finding {
  const { files, root } = place
  const candidates: Candidate[] = []
  const refused: Refusal[] = []
  const limitW = boardLimitW(place)
  for (const chip of listHwmon(files, root, Object.keys(KINDS)))
    try {
      const candidate = candidateOf(place, chip, KINDS[chip.name]!)
      const watts = candidate.watts!
      if (watts >= 0 && watts <= limitW) candidates.push(candidate)
      else
        refused.push({
          name: candidate.name,
          why: 'implausible',
          reason: `Cannot use "${candidate.name}": found ${watts.toFixed(1)} W, expected 0 to ${limitW} W; its driver assumes a shunt of ${chip.find('shunt_resistor') ?? '10000'} microohms: write the true value to ${chip.path}/shunt_resistor`,
        })
    } catch (error) {
      refused.push(refuse(chip.name, error))
    }
  return { candidates, refused }
}
