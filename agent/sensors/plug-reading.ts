import { StoreError } from '@espalier/shared/errors'
import { z } from 'zod'

export interface PlugReading {
  readonly watts: number
  /** Counted by the plug; undefined where it does not, or too coarsely to be of use. */
  readonly joules?: number
}

export const PLUG_KINDS = ['shelly', 'tasmota'] as const
export type PlugKind = (typeof PLUG_KINDS)[number]

const JOULES_PER_WH = 3600

const shellySchema = z.object({
  apower: z.number(),
  /** Wh to a thousandth: steps of 3.6 J. */
  aenergy: z.object({ total: z.number() }).optional(),
})

/** Meters with two channels send lists. */
const channels = z.union([z.number(), z.array(z.number())])
const tasmotaSchema = z.object({ ENERGY: z.object({ Power: channels }) })

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function unreadable(kind: PlugKind, text: string, wanted: string): StoreError {
  return new StoreError(`Cannot read plug of kind "${kind}": found "${text.slice(0, 80)}", expected ${wanted}`, {
    retryable: true,
  })
}

/** `Switch.GetStatus` of Shelly's second generation and later, bare (HTTP) or as the `result` of a call (MQTT). */
function parseShelly(text: string): PlugReading {
  const json = parseJson(text)
  const answer = z.object({ result: z.unknown() }).safeParse(json)
  const parsed = shellySchema.safeParse(answer.success && answer.data.result !== undefined ? answer.data.result : json)
  if (!parsed.success) throw unreadable('shelly', text, '"apower" in watts')
  const { apower, aenergy } = parsed.data
  return { watts: apower, ...(aenergy === undefined ? {} : { joules: aenergy.total * JOULES_PER_WH }) }
}

/** `Status 10` of Tasmota. Its total counts in steps of 36 or 3600 J, hours of a small board: watts alone are used. */
function parseTasmota(text: string, channel: number): PlugReading {
  const json = parseJson(text)
  const wrapped = z.object({ StatusSNS: z.unknown() }).safeParse(json)
  const parsed = tasmotaSchema.safeParse(
    wrapped.success && wrapped.data.StatusSNS !== undefined ? wrapped.data.StatusSNS : json,
  )
  const power = parsed.data?.ENERGY.Power
  const watts = Array.isArray(power) ? power[channel] : power
  if (watts === undefined) throw unreadable('tasmota', text, `"ENERGY" with "Power" of channel ${channel}`)
  return { watts }
}

/** @throws {StoreError} If the plug says something else. */
export function parsePlug(kind: PlugKind, text: string, channel: number): PlugReading {
  return kind === 'shelly' ? parseShelly(text) : parseTasmota(text, channel)
}
