import { openCodec } from '@espalier/shared/codec/open-codec'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import type { FamilySource } from '@espalier/shared/manifest/open-family'
import type { Backend } from '@espalier/shared/runtime/session'

export interface DeviceOptions {
  readonly backend: Backend
  readonly threads: number
}

/** Something that encodes and decodes, here or elsewhere. Calls must not overlap. */
export interface Device {
  encode(
    picture: Picture,
    options: { variant: string; alpha255: number },
  ): Promise<{ stream: Uint8Array; symbols: Int16Array }>
  decodeSymbols(stream: Uint8Array): Promise<Int16Array>
  decode(stream: Uint8Array): Promise<{ symbols: Int16Array; rgb: Uint8Array }>
}

/** The same few lines in a Node process and in a page: only the backend and the place of the family differ. */
export async function openDevice(family: string | FamilySource, options: DeviceOptions): Promise<Device> {
  const codec = await openCodec(await openCodecFamily(family), options)
  return {
    async encode(picture, how) {
      const { stream, reference } = await codec.encode(picture, how)
      return { stream, symbols: reference.symbols }
    },
    async decodeSymbols(stream) {
      return codec.decodeSymbols(stream).reference.symbols
    },
    async decode(stream) {
      const { rgb, reference } = await codec.decode(stream)
      return { symbols: reference.symbols, rgb }
    },
  }
}
