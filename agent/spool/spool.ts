import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { crc32 } from '@espalier/shared/codec/crc32'

/** One message that waits: `kind` is the last level of its topic. */
export interface SpoolRecord {
  readonly kind: string
  /** The whole message as it will be sent, with the boot and sequence it was made under. */
  readonly message: string
}

interface Segment {
  readonly path: string
  bytes: number
  /** Not yet delivered, oldest first. */
  readonly waiting: SpoolRecord[]
}

/** A spool gives up its oldest eighth at a time when it is full. */
const SEGMENTS = 8

const checksum = (text: string): string => crc32(new TextEncoder().encode(text)).toString(16).padStart(8, '0')

/** One line: checksum, kind, message. JSON holds no line breaks, so a line is a record. */
function formatRecord({ kind, message }: SpoolRecord): string {
  const text = `${kind} ${message}`
  return `${checksum(text)} ${text}\n`
}

function parseRecord(line: string): SpoolRecord | undefined {
  const match = /^([0-9a-f]{8}) ((\S+) (.*))$/.exec(line)
  return match === null || checksum(match[2]!) !== match[1] ? undefined : { kind: match[3]!, message: match[4]! }
}

/**
 * Bounded first-in-first-out on disk for messages that must survive an outage or the process.
 *
 * Records are appended to segment files, and a segment is removed once all its records are delivered. There is no
 * cursor: after a kill, the delivered part of one segment is sent again, and the receiver drops it by (boot,
 * sequence). Only appends and removals happen, so a kill can tear nothing but the last line, whose checksum then fails.
 */
export class Spool {
  readonly #directory: string
  readonly #segmentBytes: number
  readonly #maxBytes: number
  readonly #segments: Segment[] = []
  #open: { fd: number; segment: Segment } | undefined
  #nextNumber = 1
  #dropped = 0

  constructor(directory: string, maxBytes: number) {
    this.#directory = directory
    this.#maxBytes = maxBytes
    this.#segmentBytes = Math.ceil(maxBytes / SEGMENTS)
    mkdirSync(directory, { recursive: true })
    const names = readdirSync(directory).filter((name) => /^\d{10}\.log$/.test(name))
    for (const name of names.sort()) this.#readSegment(name)
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#segments.reduce((sum, segment) => sum + segment.bytes, 0)
  }

  /** Records lost since opening because the spool was full, or whose bytes were damaged. */
  get dropped(): number {
    return this.#dropped
  }

  /** The oldest record that was not delivered. */
  peek(): SpoolRecord | undefined {
    return this.#segments.find(({ waiting }) => waiting.length > 0)?.waiting[0]
  }

  /**
   * Add a record; the oldest give way when there is no room.
   *
   * @param options.isDurable Also survive a power loss, not only the process: costs a disk flush.
   */
  append(record: SpoolRecord, { isDurable }: { isDurable: boolean }): void {
    const line = new TextEncoder().encode(formatRecord(record))
    while (this.#segments.length > 0 && this.bytes + line.byteLength > this.#maxBytes) this.#dropOldest()
    if (line.byteLength > this.#maxBytes) {
      this.#dropped++
      return
    }
    if (this.#open !== undefined && this.#open.segment.bytes + line.byteLength > this.#segmentBytes) this.#closeOpen()
    this.#open ??= this.#newSegment()
    const { fd, segment } = this.#open
    for (let written = 0; written < line.byteLength; ) written += writeSync(fd, line, written)
    segment.bytes += line.byteLength
    segment.waiting.push(record)
    if (isDurable) fsyncSync(fd)
  }

  /** Forget a record that `peek` gave and that was delivered; no effect if it was dropped meanwhile. */
  remove(record: SpoolRecord): void {
    const segment = this.#segments.find(({ waiting }) => waiting[0] === record)
    if (segment === undefined) return
    segment.waiting.shift()
    if (segment.waiting.length === 0) this.#removeSegment(segment)
  }

  close(): void {
    this.#closeOpen()
  }

  #readSegment(name: string): void {
    const path = join(this.#directory, name)
    const text = readFileSync(path, 'utf8')
    const lines = text.split('\n')
    // Whatever follows the last line break was cut off by a kill: it was never acknowledged to anyone.
    lines.pop()
    const records = lines.map(parseRecord)
    const waiting = records.filter((record) => record !== undefined)
    this.#dropped += records.length - waiting.length
    this.#nextNumber = Number(name.slice(0, 10)) + 1
    const segment: Segment = { path, bytes: Buffer.byteLength(text), waiting }
    this.#segments.push(segment)
    if (waiting.length === 0) this.#removeSegment(segment)
  }

  #newSegment(): { fd: number; segment: Segment } {
    const name = `${String(this.#nextNumber++).padStart(10, '0')}.log`
    const segment: Segment = { path: join(this.#directory, name), bytes: 0, waiting: [] }
    this.#segments.push(segment)
    return { fd: openSync(segment.path, 'ax'), segment }
  }

  #dropOldest(): void {
    const oldest = this.#segments[0]!
    this.#dropped += oldest.waiting.length
    this.#removeSegment(oldest)
  }

  #removeSegment(segment: Segment): void {
    if (this.#open?.segment === segment) this.#closeOpen()
    if (existsSync(segment.path)) rmSync(segment.path)
    this.#segments.splice(this.#segments.indexOf(segment), 1)
  }

  #closeOpen(): void {
    if (this.#open !== undefined) closeSync(this.#open.fd)
    this.#open = undefined
  }
}
