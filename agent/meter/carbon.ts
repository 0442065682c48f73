/** How much carbon a kilowatt-hour costs here. */
export interface CarbonIntensity {
  /** Grams of CO2 equivalent for each kWh. */
  readonly gramsPerKwh: number
  /** Where that comes from, e.g. `table:DEU` or `configured`. */
  readonly source: string
  /** Year that it holds for; undefined where nobody said. */
  readonly year?: number
}

const JOULES_PER_KWH = 3.6e6

/**
 * Lifecycle, production mix, yearly average of 2023 (IDN 2022): Ember through Our World in Data, CC BY 4.0. A yearly average of
 * what a country makes, imports left out, is the coarsest figure that SCI accepts: configure a better one.
 */
const BY_COUNTRY: Readonly<Record<string, number>> = {
  AUS: 549,
  AUT: 111,
  BEL: 138,
  BRA: 98,
  CAN: 170,
  CHE: 35,
  CHN: 582,
  CZE: 450,
  DEU: 381,
  DNK: 152,
  ESP: 174,
  FIN: 79,
  FRA: 56,
  GBR: 238,
  IDN: 676,
  IND: 713,
  IRL: 291,
  ITA: 331,
  JPN: 485,
  KOR: 431,
  MEX: 507,
  NLD: 268,
  NOR: 30,
  POL: 662,
  PRT: 166,
  SGP: 471,
  SWE: 41,
  TWN: 642,
  USA: 369,
  ZAF: 708,
}
/** IEA, 2019. */
const WORLD = { gramsPerKwh: 475, source: 'table:world', year: 2019 }

export const COUNTRIES = Object.keys(BY_COUNTRY)

/** @param place Grams for each kWh, a country of the table by its three letters, or `world`. */
export function carbonIntensity(place: number | string): CarbonIntensity {
  if (typeof place === 'number') return { gramsPerKwh: place, source: 'configured' }
  const grams = BY_COUNTRY[place]
  return grams === undefined
    ? WORLD
    : { gramsPerKwh: grams, source: `table:${place}`, year: place === 'IDN' ? 2022 : 2023 }
}

/** Grams of CO2 equivalent. @example gramsOfCarbon(3.6e6, carbonIntensity(400)) // 400 */
export function gramsOfCarbon(joules: number, { gramsPerKwh }: CarbonIntensity): number {
  return (joules / JOULES_PER_KWH) * gramsPerKwh
}
