import { IntegrityError } from '../errors.ts'
import { crc32 } from './crc32.ts'

/**
 * A stream is one frame: 32 bytes of header, payload, CRC-32 of all before it. Little-endian.
 *
 * | offset | bytes | field |
 * |---|---|---|
 * | 0 | 3 | "ESP" |
 * | 3 | 1 | version, 2 |
 * | 4 | 1 | frame kind: 0 key frame, 1 inter frame |
 * | 5 | 1 | variant that encoded: position in the manifest, for information only |
 * | 6 | 1 | adapter: position in the manifest |
 * | 7 | 1 | alpha times 255 |
 * | 8 | 2 + 2 | width, height in pixels |
 * | 12 | 8 | first bytes of the codec digest: decoder, adapters and tensors |
 * | 20 | 4 | first bytes of the entropy tables' digest |
 * | 24 | 4 | payload bytes |
 * | 28 | 4 | CRC-32 at the end of the frame that an inter frame follows; 0 in a key frame |
 */
export const HEADER_BYTES = 32
const TRAILER_BYTES = 4
const VERSION = 2
const FRAME_KINDS = ['key', 'inter'] as const
export type FrameKind = (typeof FRAME_KINDS)[number]
/** Larger pictures are refused before anything is allocated for them. */
const MAX_PIXELS = 64e6

export interface StreamHeader {
  readonly version: number
  readonly frameKind: FrameKind
  readonly variantIndex: number
  readonly adapterIndex: number
  readonly alpha255: number
  readonly width: number
  readonly height: number
  /** Hexadecimal, 16 digits. */
  readonly codecDigest: string
  /** Hexadecimal, 8 digits. */
  readonly tablesDigest: string
  readonly payloadBytes: number
  /** Of the stream that this one follows; 0 in a key frame. */
  readonly referenceCrc: number
  readonly crc: number
}

export type StreamFields = Omit<StreamHeader, 'version' | 'payloadBytes' | 'crc'>

function fromHex(hex: string): Uint8Array {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function writeStream(fields: StreamFields, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length + TRAILER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set([
    0x45,
    0x53,
    0x50,
    VERSION,
    FRAME_KINDS.indexOf(fields.frameKind),
    fields.variantIndex,
    fields.adapterIndex,
    fields.alpha255,
  ])
  view.setUint16(8, fields.width, true)
  view.setUint16(10, fields.height, true)
  bytes.set(fromHex(fields.codecDigest), 12)
  bytes.set(fromHex(fields.tablesDigest), 20)
  view.setUint32(24, payload.length, true)
  view.setUint32(28, fields.referenceCrc, true)
  bytes.set(payload, HEADER_BYTES)
  view.setUint32(HEADER_BYTES + payload.length, crc32(bytes.subarray(0, -TRAILER_BYTES)), true)
  return bytes
}

function refuse(found: string, expected: string): never {
  throw new IntegrityError(`Cannot read stream: found ${found}, expected ${expected}`)
}

/**
 * Check a stream whole and take it apart.
 *
 * @returns The header and a view on the payload.
 * @throws {IntegrityError} If anything is missing, altered, of another version or of an impossible size.
 */
export function readStream(bytes: Uint8Array): { header: StreamHeader; payload: Uint8Array } {
  if (bytes.length < HEADER_BYTES + TRAILER_BYTES)
    refuse(`${bytes.length} bytes`, `at least ${HEADER_BYTES + TRAILER_BYTES}`)
  if (bytes[0] !== 0x45 || bytes[1] !== 0x53 || bytes[2] !== 0x50)
    refuse(`magic ${toHex(bytes.subarray(0, 3))}`, '"ESP"')
  if (bytes[3] !== VERSION) refuse(`version ${bytes[3]}`, `${VERSION}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const payloadBytes = view.getUint32(24, true)
  const expectedBytes = HEADER_BYTES + payloadBytes + TRAILER_BYTES
  if (bytes.length !== expectedBytes)
    refuse(`${bytes.length} bytes (truncated or extended)`, `${expectedBytes} as its header says`)
  const crc = view.getUint32(bytes.length - TRAILER_BYTES, true)
  const computed = crc32(bytes.subarray(0, -TRAILER_BYTES))
  if (crc !== computed) refuse(`checksum ${crc.toString(16)}`, `${computed.toString(16)}: the stream was altered`)
  const frameKind = FRAME_KINDS[bytes[4]!]
  if (frameKind === undefined) refuse(`frame kind ${bytes[4]}`, '0 (key frame) or 1 (inter frame)')
  const [width, height] = [view.getUint16(8, true), view.getUint16(10, true)]
  if (width === 0 || height === 0 || width * height > MAX_PIXELS)
    refuse(`a picture of ${width} x ${height}`, `1 to ${MAX_PIXELS} pixels`)
  const header: StreamHeader = {
    version: VERSION,
    frameKind,
    variantIndex: bytes[5]!,
    adapterIndex: bytes[6]!,
    alpha255: bytes[7]!,
    width,
    height,
    codecDigest: toHex(bytes.subarray(12, 20)),
    tablesDigest: toHex(bytes.subarray(20, 24)),
    payloadBytes,
    referenceCrc: view.getUint32(28, true),
    crc,
  }
  return { header, payload: bytes.subarray(HEADER_BYTES, HEADER_BYTES + payloadBytes) }
}

/** What names a stream that is known to be whole: the checksum at its end. */
export function readCrc(stream: Uint8Array): number {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength)
  return view.getUint32(stream.length - TRAILER_BYTES, true)
}

/** The header of a whole, checked stream. @throws {IntegrityError} As `readStream`. */
export function readHeader(bytes: Uint8Array): StreamHeader {
  return readStream(bytes).header
}
