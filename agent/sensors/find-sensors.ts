import type { Candidate, Finding, Refusal, SensorSurroundings } from './candidate.ts'
import { PREFERENCES } from './candidate.ts'
import { findPlug } from './find-plug.ts'
import { findIna2xx } from './ina2xx.ts'
import { findIna3221 } from './ina3221.ts'
import { findIna3221x } from './ina3221x.ts'
import { findPmic, type PmicCorrection, PUBLISHED_CORRECTION } from './pi-pmic.ts'
import type { Plug } from './plug.ts'
import { findPowerSupplies } from './power-supply.ts'
import { findRapl } from './rapl.ts'
import { refuse } from './refuse.ts'

export interface Choice {
  /** The one whose joules count; undefined: the model has to do. */
  readonly chosen: Candidate | undefined
  /** What is there and is not counted, with the reason. */
  readonly refused: readonly Refusal[]
}

/** Best first; of two of one kind, the one that sees more watts: the other is behind it. */
function byPreference(a: Candidate, b: Candidate): number {
  const order = PREFERENCES.indexOf(a.preference) - PREFERENCES.indexOf(b.preference)
  return order !== 0 ? order : (b.watts ?? 0) - (a.watts ?? 0)
}

/** Choose one: sources that overlap are never added. */
export function chooseSensor({ candidates, refused }: Finding): Choice {
  const [chosen, ...others] = [...candidates].sort(byPreference)
  const unused = others.map(({ name, preference }): Refusal => {
    const reason = `${preference} comes after ${chosen!.preference} "${chosen!.name}", which sees the same energy`
    return { name, why: 'unused', reason }
  })
  return { chosen, refused: [...refused, ...unused] }
}

/** Look for every sensor that can tell this device's energy, and choose. */
export async function findSensors(
  surroundings: SensorSurroundings,
  {
    pmic = PUBLISHED_CORRECTION,
    plug,
  }: { readonly pmic?: PmicCorrection | undefined; readonly plug?: Plug | undefined } = {},
): Promise<Choice> {
  const finders: ReadonlyArray<readonly [string, () => Finding | Promise<Finding>]> = [
    ['ina2xx', () => findIna2xx(surroundings)],
    ['ina3221', () => findIna3221(surroundings)],
    ['ina3221x', () => findIna3221x(surroundings)],
    ['pmic', () => findPmic(surroundings, pmic)],
    ['power-supply', () => findPowerSupplies(surroundings)],
    ['rapl', () => findRapl(surroundings)],
    ...(plug === undefined ? [] : [['plug', () => findPlug(plug)] as const]),
  ]
  const candidates: Candidate[] = []
  const refused: Refusal[] = []
  for (const [name, find] of finders)
    try {
      const finding = await find()
      candidates.push(...finding.candidates)
      refused.push(...finding.refused)
    } catch (error) {
      // One broken kind of sensor does not hide the others.
      refused.push(refuse(name, error))
    }
  return chooseSensor({ candidates, refused })
}
