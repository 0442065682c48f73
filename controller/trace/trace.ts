import { z } from 'zod'

const positive = z.number().positive()

/** A configuration that a slot could run, by its cards on that device. */
const optionSchema = z.object({
  id: z.string().min(1).max(200),
  /** Equal where a change costs no reload. */
  graph: z.string().min(1).max(200),
  frameRate: positive,
  bitsPerFrame: positive,
  latencyS: positive,
  /** Above idle. */
  joulesPerFrame: positive,
  psnrDb: z.number(),
})

/** First line of a trace. */
const headerSchema = z.object({
  format: z.literal('espalier-trace/1'),
  /** Wall time of epoch 0. */
  startedAt: z.iso.datetime(),
  epochS: positive,
  slots: z
    .array(
      z.object({
        /** `device/slot`. */
        key: z.string().regex(/^[^/]+\/[^/]+$/),
        site: z.string().min(1),
        deviceClass: z.string().min(1),
        weight: z.number().min(0),
        sourceFrameRate: positive,
        options: z.array(optionSchema).min(1),
      }),
    )
    .min(1),
})

/** What one slot did in one epoch, as measured; a field is absent where nothing was measured. */
const readingSchema = z.object({
  /** The one of most frames. */
  configuration: z.string().min(1),
  frames: z.int().min(0),
  latencyS: positive.optional(),
  bitsPerFrame: positive.optional(),
  joulesPerFrame: z.number().min(0).optional(),
  /** The slot's share of what the device draws beside its frames. */
  baseW: z.number().min(0).optional(),
  psnrDb: z.number().optional(),
})

/** Each further line: one epoch. Slots that were not heard are absent. */
const epochSchema = z.object({
  epoch: z.int().min(0),
  /** By key: `fleet` or `site:<id>`. */
  budgets: z.record(z.string(), z.object({ rateBps: z.number().optional(), powerW: z.number().optional() })),
  slots: z.record(z.string(), readingSchema),
})

export type TraceHeader = z.infer<typeof headerSchema>
export type TraceOption = z.infer<typeof optionSchema>
export type TraceReading = z.infer<typeof readingSchema>
export type TraceEpoch = z.infer<typeof epochSchema>
export interface Trace {
  readonly header: TraceHeader
  readonly epochs: readonly TraceEpoch[]
}

export const formatTrace = ({ header, epochs }: Trace): string =>
  `${[header, ...epochs].map((line) => JSON.stringify(line)).join('\n')}\n`

function parseLine<T>(schema: z.ZodType<T>, name: string, text: string, line: number): T {
  const refuse = (found: string, cause?: unknown): never => {
    throw new SyntaxError(`Cannot read trace "${name}": line ${line} ${found}`, { cause })
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    return refuse('is not JSON: it was cut off, or is no trace', cause)
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  return refuse(`is wrong at "${issue?.path.join('.')}": ${issue?.message}`)
}

/** @throws {SyntaxError} If it is no trace; names the first line that is wrong. */
export function parseTrace(name: string, text: string): Trace {
  const lines = text.split(/\r?\n/).filter((line) => line.trim() !== '')
  if (lines.length < 2)
    throw new SyntaxError(`Cannot read trace "${name}": found ${lines.length} lines, expected a header and epochs`)
  const header = parseLine(headerSchema, name, lines[0]!, 1)
  const epochs = lines.slice(1).map((line, i) => parseLine(epochSchema, name, line, i + 2))
  const known = new Set(header.slots.map(({ key }) => key))
  for (const [i, { epoch, slots }] of epochs.entries()) {
    const before = epochs[i - 1]?.epoch ?? -1
    if (epoch <= before)
      throw new SyntaxError(
        `Cannot read trace "${name}": line ${i + 2} is epoch ${epoch}, expected one after ${before}`,
      )
    const stranger = Object.keys(slots).find((key) => !known.has(key))
    if (stranger !== undefined)
      throw new SyntaxError(
        `Cannot read trace "${name}": line ${i + 2} has slot "${stranger}", which the header has not`,
      )
  }
  return { header, epochs }
}
