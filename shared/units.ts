const PREFIX: Readonly<Record<string, number>> = { '': 1, m: 1e-3, k: 1e3, K: 1e3, M: 1e6, G: 1e9 }

function parseQuantity(text: string, unit: RegExp, wanted: string): number {
  const match = /^\s*([0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?)\s*([mkKMG]?)(.*?)\s*$/.exec(text)
  const scale = match === null ? undefined : PREFIX[match[2]!]
  if (match === null || scale === undefined || !unit.test(match[3]!))
    throw new SyntaxError(`Cannot read quantity "${text}": expected ${wanted}`)
  return Number(match[1]) * scale
}

/**
 * Read a bit rate.
 *
 * @returns Bits per second, >= 0.
 * @throws {SyntaxError} If the text is no rate.
 * @example parseRate('150kbit/s') // 150000
 */
export function parseRate(text: string): number {
  return parseQuantity(text, /^(bit\/s|bps|b\/s)$/, 'a rate such as "150kbit/s" or "2Mbit/s"')
}

/**
 * Read a power.
 *
 * @returns Watts, >= 0.
 * @throws {SyntaxError} If the text is no power.
 * @example parsePower('2.5W') // 2.5
 */
export function parsePower(text: string): number {
  return parseQuantity(text, /^W$/, 'a power such as "12W" or "800mW"')
}

/**
 * Read an emission.
 *
 * @returns Grams of CO2 an hour, >= 0.
 * @throws {SyntaxError} If the text is none.
 * @example parseEmission('90g/h') // 90
 */
export function parseEmission(text: string): number {
  return parseQuantity(text, /^g\/h$/, 'an emission such as "90g/h" or "1.2kg/h"')
}

/** An emission for people. @example formatEmission(1200) // '1.2 kg/h' */
export function formatEmission(gramsPerH: number): string {
  if (gramsPerH >= 1e3) return `${Number((gramsPerH / 1e3).toPrecision(3))} kg/h`
  return gramsPerH >= 1 ? `${Number(gramsPerH.toPrecision(3))} g/h` : `${Number((gramsPerH * 1e3).toPrecision(3))} mg/h`
}

/** A rate for people. @example formatRate(150000) // '150 kbit/s' */
export function formatRate(rateBps: number): string {
  if (rateBps >= 1e6) return `${Number((rateBps / 1e6).toPrecision(3))} Mbit/s`
  if (rateBps >= 1e3) return `${Number((rateBps / 1e3).toPrecision(3))} kbit/s`
  return `${Math.round(rateBps)} bit/s`
}

/** A power for people. @example formatPower(0.25) // '250 mW' */
export function formatPower(powerW: number): string {
  return powerW < 1 ? `${Number((powerW * 1e3).toPrecision(3))} mW` : `${Number(powerW.toPrecision(3))} W`
}
