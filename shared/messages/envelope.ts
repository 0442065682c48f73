import { z } from 'zod'
import { MessageError } from '../errors.ts'

/** Larger messages are refused before they are parsed. */
export const MAX_MESSAGE_BYTES = 256 * 1024

/** How good a wall clock is: set by time servers, by a clock with a battery, by what was saved before, or not at all. */
export const clockQualitySchema = z.enum(['ntp', 'rtc', 'restored', 'none'])
export type ClockQuality = z.infer<typeof clockQualitySchema>

/**
 * What every message carries. Receivers order by (`boot`, `seq`), never by `wall`. `bd` counts births: it stands
 * in the will too, so that a late will cannot end a newer session.
 */
export const envelopeSchema = z.object({
  v: z.literal(1),
  bd: z.int().min(0),
  boot: z.string().min(1).max(64),
  /** Boots of this device so far; absent: it does not count them. Puts boots in order of which nobody heard. */
  bootNumber: z.int().min(0).optional(),
  seq: z.int().min(0),
  /** Milliseconds since boot. */
  mono: z.number().min(0),
  /** Milliseconds since 1970 as the sender believes. */
  wall: z.number(),
  /** How good `wall` is. */
  clk: clockQualitySchema,
  body: z.unknown(),
})
export type Envelope<Body = unknown> = Omit<z.infer<typeof envelopeSchema>, 'body'> & { body: Body }

/** An envelope's schema for each body: making one takes longer than reading a message with it. */
const schemas = new WeakMap<z.ZodType, z.ZodType>()

function schemaFor(bodySchema: z.ZodType): z.ZodType {
  const known = schemas.get(bodySchema)
  if (known !== undefined) return known
  const schema = envelopeSchema.extend({ body: bodySchema })
  schemas.set(bodySchema, schema)
  return schema
}

/**
 * Read a message.
 *
 * @param kind What the message should be, for the error.
 * @throws {MessageError} If it is too large, no JSON, or not of this form and version.
 */
export function parseMessage<Body>(payload: Uint8Array, kind: string, bodySchema: z.ZodType<Body>): Envelope<Body> {
  if (payload.byteLength > MAX_MESSAGE_BYTES)
    throw new MessageError(
      `Cannot read message "${kind}": found ${payload.byteLength} bytes, expected at most ${MAX_MESSAGE_BYTES}`,
    )
  let json: unknown
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload))
  } catch (cause) {
    throw new MessageError(`Cannot read message "${kind}": found no JSON text`, { cause })
  }
  const parsed = schemaFor(bodySchema).safeParse(json)
  if (!parsed.success)
    throw new MessageError(`Cannot read message "${kind}": ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
  return parsed.data as Envelope<Body>
}

export function formatMessage(envelope: Envelope): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(envelope))
}
