import type { Candidate, Refusal, SystemPlace } from './candidate.ts'
import { refuse } from './refuse.ts'
import { apartReaderOf } from './system-files.ts'

/** One supply rail of a module. */
export interface Rail {
  readonly rail: string
  /** @returns Watts. @throws {StoreError} If they cannot be known now. */
  readonly read: () => number
}

/** Rails that carry all of a module or a carrier: every other rail is fed from them and must not be added. */
const INPUT = /^(VDD_IN|POM_5V_IN|VIN)$/
const CARRIER_INPUT = /^CVB_ATX_/

/** Shunts of 2 to 5 milliohms; published comparisons leave a few percent. */
const INPUT_UNCERTAINTY = 0.05
/** A sum misses the carrier, and one rail may be inside another (DDR behind the 5 V of AGX Orin: not known). */
const SUM_UNCERTAINTY = 0.15
/** Three channels at 1.1 ms for each voltage are new after 7 ms. What the reading costs slows it down further. */
const PERIOD_MS = 10

/**
 * Decide which rails add up to the device: the input rail alone where there is one, else all of them once.
 *
 * @param driver Goes into the name of the source, e.g. `ina3221`.
 */
export function totalOfRails(
  { root, files }: SystemPlace,
  driver: string,
  rails: readonly Rail[],
): { readonly candidate?: Candidate; readonly refused: readonly Refusal[] } {
  const carrier = rails.filter(({ rail }) => CARRIER_INPUT.test(rail))
  const input = rails.filter(({ rail }) => INPUT.test(rail)).slice(0, 1)
  const counted = carrier.length > 0 ? carrier : input.length > 0 ? input : rails
  if (counted.length === 0) return { refused: [] }
  const isSum = counted === rails
  const names = counted.map(({ rail }) => rail)
  const name = `${driver}:${names.length === 1 ? names[0] : 'sum'}`
  const source = name.slice(0, 80)
  const read = (): number => {
    let sum = 0
    for (const rail of counted) sum += rail.read()
    return sum
  }
  let watts: number
  try {
    watts = read()
  } catch (error) {
    return { refused: [refuse(name, error)] }
  }
  const isBoard = counted === carrier || names[0] === 'VIN'
  const candidate: Candidate = {
    preference: isSum ? 'rail-sum' : 'module-input',
    name,
    rails: names,
    watts,
    notes: isSum
      ? ['no input rail: a sum that misses the carrier board']
      : isBoard
        ? ['counts all that is wired behind the carrier supply']
        : ['input of the module: the carrier board is not in it'],
    measures: {
      kind: 'power',
      probe: {
        source: {
          source,
          rail: names.join('+').slice(0, 80),
          scope: isBoard ? 'board' : 'module',
          method: 'integral',
        },
        uncertainty: isSum ? SUM_UNCERTAINTY : INPUT_UNCERTAINTY,
        periodMs: PERIOD_MS,
        read,
        readApart: apartReaderOf(files, root, source),
      },
    },
  }
  const refused = rails
    .filter((rail) => !counted.includes(rail))
    .map(({ rail }) => ({ name: `${driver}:${rail}`, why: 'inside' as const, reason: `fed from ${names.join(', ')}` }))
  return { candidate, refused }
}
