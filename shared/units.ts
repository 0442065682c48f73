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

const digits = (value: number, count = 3): string => String(Number(value.toPrecision(count)))

/** An emission for people. @example formatEmission(1200) // '1.2 kg/h' */
export function formatEmission(gramsPerH: number): string {
  if (gramsPerH >= 1e3) return `${digits(gramsPerH / 1e3)} kg/h`
  return gramsPerH >= 1 ? `${digits(gramsPerH)} g/h` : `${digits(gramsPerH * 1e3)} mg/h`
}

/** A rate for people. @example formatRate(150000) // '150 kbit/s' */
export function formatRate(rateBps: number): string {
  if (rateBps >= 1e6) return `${digits(rateBps / 1e6)} Mbit/s`
  if (rateBps >= 1e3) return `${digits(rateBps / 1e3)} kbit/s`
  return `${Math.round(rateBps)} bit/s`
}

/** A power for people, negative where something feeds. @example formatPower(0.25) // '250 mW' */
export function formatPower(powerW: number): string {
  if (powerW < 0) return `−${formatPower(-powerW)}`
  if (powerW >= 1e3) return `${digits(powerW / 1e3)} kW`
  return powerW >= 1 || powerW === 0 ? `${digits(powerW)} W` : `${digits(powerW * 1e3)} mW`
}

/** An energy for people. @example formatEnergy(7.2e6) // '2 kWh' */
export function formatEnergy(joules: number): string {
  if (joules >= 3.6e6) return `${digits(joules / 3.6e6)} kWh`
  if (joules >= 1e3) return `${digits(joules / 1e3)} kJ`
  return joules > 0 && joules < 0.1 ? `${digits(joules * 1e3)} mJ` : `${digits(joules)} J`
}

/** A share for people. @example formatShare(0.125) // '12.5 %' */
export const formatShare = (share: number): string => `${digits(100 * share, share < 0.01 ? 2 : 3)} %`

/** A number of bytes for people. @example formatBytes(1.5e9) // '1.5 GB' */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const at = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  return `${digits(bytes / 1000 ** at)} ${units[at]}`
}

const FORMATS: Readonly<Record<string, (value: number) => string>> = {
  W: formatPower,
  'bit/s': formatRate,
  J: formatEnergy,
  B: formatBytes,
  '1': formatShare,
  Cel: (celsius) => `${digits(celsius)} °C`,
}

/** A number of any unit of our messages for people. @example formatQuantity(30570, 'bit/s') // '30.6 kbit/s' */
export function formatQuantity(value: number, unit: string): string {
  return FORMATS[unit]?.(value) ?? `${digits(value, 4)} ${unit}`.trimEnd()
}
