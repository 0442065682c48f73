import { StoreError } from '@espalier/shared/errors'
import type { PowerProbe, SystemPlace } from './candidate.ts'
import { findIna2xx } from './ina2xx.ts'
import { findIna3221 } from './ina3221.ts'
import { findIna3221x } from './ina3221x.ts'

/** Sensors that measure many times a second and are nothing but system files. */
const FINDERS = [findIna2xx, findIna3221, findIna3221x]

/** @param source Name of the sensor. @throws {StoreError} If there is none of that name now. */
export function findFastProbe(place: SystemPlace, source: string): PowerProbe {
  for (const find of FINDERS)
    for (const { measures } of find(place).candidates)
      if (measures.kind === 'power' && measures.probe.source.source === source) return measures.probe
  throw new StoreError(`Cannot find sensor "${source}" under "${place.root}"`, { retryable: true })
}
