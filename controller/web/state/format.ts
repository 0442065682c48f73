import type { Configuration } from '@espalier/shared/configuration'
import { formatBytes, formatEnergy, formatPower, formatRate, formatShare } from '@espalier/shared/units'

/** What is not known. */
export const UNKNOWN = '–'

const or =
  <Value>(format: (value: Value) => string) =>
  (value: Value | undefined | null): string =>
    value === undefined || value === null || Number.isNaN(value) ? UNKNOWN : format(value)

const digits = (value: number, count = 3): string => String(Number(value.toPrecision(count)))

export const rate = or(formatRate)
export const power = or(formatPower)
export const energy = or(formatEnergy)
export const milliseconds = or((ms: number) =>
  ms < 10 ? `${digits(ms, 2)} ms` : ms < 10_000 ? `${ms.toFixed(0)} ms` : `${digits(ms / 1000)} s`,
)
export const decibels = or((db: number) => `${db.toFixed(1)} dB`)
export const accuracy = or((percent: number) => `${percent.toFixed(1)} % accuracy`)
/** In the measure of the slot's task. */
export const quality = (of: {
  readonly psnrDb?: number | undefined
  readonly accuracyPct?: number | undefined
}): string => (of.accuracyPct === undefined ? decibels(of.psnrDb) : accuracy(of.accuracyPct))
export const percent = or(formatShare)
export const count = or((value: number) => Math.round(value).toLocaleString('en').replaceAll(',', ' '))
export const celsius = or((value: number) => `${value.toFixed(0)} °C`)
export const perSecond = or((value: number) => `${digits(value)} /s`)
export const grams = or((value: number) => (value >= 1000 ? `${digits(value / 1000)} kg` : `${digits(value)} g`))
export const bytes = or(formatBytes)
export const utility = or((value: number) => digits(value, 4))

/** With its sign: what is more and what is less must not look alike. */
export const signed =
  (format: (value: number) => string) =>
  (value: number | undefined): string => {
    if (value === undefined) return UNKNOWN
    const text = format(Math.abs(value))
    if (text === format(0)) return text
    return value > 0 ? `+${text}` : value < 0 ? `−${text}` : text
  }

export const duration = or((seconds: number) => {
  if (seconds < 90) return `${Math.round(seconds)} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} d`
})

export const timeOfDay = (atMs: number): string =>
  new Date(atMs).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' })

/** A configuration within its family: `full a064 512x288@5 wasm2`. */
export function shortConfiguration(id: string | undefined): string {
  if (id === undefined) return UNKNOWN
  const [, variant, alpha, size, , backend] = id.split('/')
  return [variant, alpha, size, backend].filter((part) => part !== undefined).join(' ')
}

/** The same of a configuration that is not yet an id. */
export function configuration({
  variant,
  alpha255,
  width,
  height,
  frameRate,
  backend,
  threads,
}: Configuration): string {
  return `${variant} a${String(alpha255).padStart(3, '0')} ${width}x${height}@${frameRate} ${backend}${threads}`
}

/** Of a configuration's id; 0 where it names none. */
export const alphaOf = (id: string): number => Number(id.split('/')[2]?.slice(1) ?? 0)
