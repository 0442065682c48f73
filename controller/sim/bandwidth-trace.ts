/** What an uplink carried over time; repeated when it is too short. */
export interface BandwidthTrace {
  readonly name: string
  /** Means over consecutive steps, bit/s. */
  resample(stepS: number, steps: number): Float64Array
}

interface Segment {
  readonly seconds: number
  readonly bps: number
}

function fromSegments(name: string, segments: readonly Segment[]): BandwidthTrace {
  const totalS = segments.reduce((sum, { seconds }) => sum + seconds, 0)
  if (!(totalS > 0) || segments.every(({ bps }) => bps === 0))
    throw new SyntaxError(
      `Cannot read bandwidth trace "${name}": it carries nothing, expected at least one second and one bit`,
    )
  return {
    name,
    resample(stepS, steps) {
      const means = new Float64Array(steps)
      let [at, used] = [0, 0]
      for (let step = 0; step < steps; step++) {
        let [left, bits] = [stepS, 0]
        while (left > 1e-9) {
          const { seconds, bps } = segments[at]!
          const part = Math.min(left, seconds - used)
          bits += part * bps
          left -= part
          used += part
          if (used >= seconds - 1e-9) [at, used] = [(at + 1) % segments.length, 0]
        }
        means[step] = bits / stepS
      }
      return means
    },
  }
}

const MAHIMAHI_PACKET_BITS = 1500 * 8
const lines = (text: string): string[] =>
  text
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))

/** Mahimahi: each line is the millisecond at which one packet of 1500 bytes may leave. */
function parseMahimahi(name: string, rows: readonly string[]): BandwidthTrace {
  const seconds: number[] = []
  for (const row of rows) {
    const second = Math.floor(Number(row) / 1000)
    seconds[second] = (seconds[second] ?? 0) + MAHIMAHI_PACKET_BITS
  }
  return fromSegments(
    name,
    Array.from(seconds, (bps) => ({ seconds: 1, bps: bps ?? 0 })),
  )
}

/** Pensieve and its many relatives: seconds and Mbit/s in two columns. */
function parseColumns(name: string, rows: readonly string[]): BandwidthTrace {
  const points = rows.map((row) => row.split(/[\s,;]+/).map(Number))
  const segments = points.slice(0, -1).map(([time, mbps], i) => ({
    seconds: points[i + 1]![0]! - time!,
    bps: mbps! * 1e6,
  }))
  const bad = segments.findIndex(({ seconds }) => !(seconds > 0))
  if (bad !== -1)
    throw new SyntaxError(`Cannot read bandwidth trace "${name}": row ${bad + 2} is not later than the one before it`)
  // The last row has no end of its own.
  const last = { seconds: segments.at(-1)?.seconds ?? 1, bps: points.at(-1)![1]! * 1e6 }
  return fromSegments(name, [...segments, last])
}

/** Sabre: an array of `{ duration_ms, bandwidth_kbps }`. */
function parseSabre(name: string, text: string): BandwidthTrace {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw new SyntaxError(`Cannot read bandwidth trace "${name}": not JSON`, { cause })
  }
  if (!Array.isArray(parsed)) throw new SyntaxError(`Cannot read bandwidth trace "${name}": expected an array`)
  return fromSegments(
    name,
    parsed.map((entry: { duration_ms?: unknown; bandwidth_kbps?: unknown } | null, i) => {
      const [ms, kbps] = [Number(entry?.duration_ms), Number(entry?.bandwidth_kbps)]
      if (!(ms > 0) || !(kbps >= 0))
        throw new SyntaxError(
          `Cannot read bandwidth trace "${name}": entry ${i} is ${JSON.stringify(entry)}, expected duration_ms > 0 and bandwidth_kbps >= 0`,
        )
      return { seconds: ms / 1000, bps: kbps * 1000 }
    }),
  )
}

/**
 * Read a public trace by its shape: JSON (Sabre), one whole number a line (Mahimahi) or two columns (Pensieve).
 *
 * @throws {SyntaxError} If it is none of them, names the first line that is wrong.
 */
export function parseBandwidthTrace(name: string, text: string): BandwidthTrace {
  if (/^\s*[[{]/.test(text)) return parseSabre(name, text)
  const rows = lines(text)
  const columns = rows[0]?.split(/[\s,;]+/).length
  const shape = columns === 1 ? /^\d+$/ : /^\d+(\.\d+)?[\s,;]+\d+(\.\d+)?$/
  const bad = rows.findIndex((row) => !shape.test(row))
  if (rows.length === 0 || bad !== -1)
    throw new SyntaxError(
      `Cannot read bandwidth trace "${name}": line ${bad + 1} is ${JSON.stringify(rows[bad] ?? '')}, expected ` +
        'a whole number of milliseconds (Mahimahi), seconds and Mbit/s (Pensieve) or JSON (Sabre)',
    )
  return columns === 1 ? parseMahimahi(name, rows) : parseColumns(name, rows)
}
