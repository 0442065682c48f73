import { MessageError } from '../errors.ts'

/**
 * One binary WebSocket message on `/api/v1/uplink/{device}/{slot}` is one frame: 16 bytes of header
 * (magic "EU", version 1, flags 0, sequence uint32, capture time float64 milliseconds since 1970, little-endian), then the
 * codec stream. Sequence counts encoded frames since the slot started and shows the receiver what is missing.
 */
const HEADER_BYTES = 16

export interface UplinkFrame {
  readonly sequence: number
  readonly capturedWallMs: number
  readonly stream: Uint8Array
}

export function encodeUplinkFrame(frame: UplinkFrame): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + frame.stream.byteLength)
  const view = new DataView(bytes.buffer)
  bytes.set([0x45, 0x55, 1, 0])
  view.setUint32(4, frame.sequence, true)
  view.setFloat64(8, frame.capturedWallMs, true)
  bytes.set(frame.stream, HEADER_BYTES)
  return bytes
}

/**
 * @returns A view on `bytes`, not a copy.
 * @throws {MessageError} If the header is short or not of this version.
 */
export function decodeUplinkFrame(bytes: Uint8Array): UplinkFrame {
  if (bytes.byteLength < HEADER_BYTES || bytes[0] !== 0x45 || bytes[1] !== 0x55 || bytes[2] !== 1)
    throw new MessageError(
      `Cannot read uplink frame: found ${bytes.byteLength} bytes without the header "EU" version 1`,
    )
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return {
    sequence: view.getUint32(4, true),
    capturedWallMs: view.getFloat64(8, true),
    stream: bytes.subarray(HEADER_BYTES),
  }
}
