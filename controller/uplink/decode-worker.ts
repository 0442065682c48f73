import { parentPort } from 'node:worker_threads'
import { readCrc } from '@espalier/shared/codec/container'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { FrameReference, PictureCodec } from '@espalier/shared/codec/picture-codec'
import { describeError } from '@espalier/shared/errors'
import sharp from 'sharp'
import type { DecodeAnswer, DecodeRequest } from './decoder.ts'

/** Runs in a worker thread: inference blocks the thread that it runs on. */
const codecs = new Map<string, Promise<PictureCodec>>()

/** The last frame decoded of each slot: a chain that goes on from it need not be read from its start. */
const references = new Map<string, FrameReference>()

async function decode({ key, directory, streams }: DecodeRequest): Promise<Uint8Array> {
  const opening = codecs.get(directory) ?? openFamilyCodec(directory, { threads: 1 })
  codecs.set(directory, opening)
  const codec = await opening
  const known = references.get(key)
  const before = streams.slice(0, -1)
  const at = before.findLastIndex((stream) => readCrc(stream) === known?.crc)
  let reference = at === -1 ? undefined : known
  for (const stream of before.slice(at + 1)) reference = codec.decodeSymbols(stream, { reference }).reference
  // A page shows many small pictures: the light decoder is good enough, and leaves the machine to others.
  const decoder = codec.manifest.decoders.light === undefined ? 'full' : 'light'
  const decoded = await codec.decode(streams.at(-1)!, { reference, decoder })
  references.set(key, decoded.reference)
  const { width, height, rgb } = decoded
  const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 3 })
    .toBuffer()
  return new Uint8Array(png)
}

// Requests are answered in turn: calls of a codec must not overlap.
let turn = Promise.resolve()
parentPort!.on('message', (request: DecodeRequest) => {
  turn = turn.then(async () => {
    const answer: DecodeAnswer = await decode(request).then(
      (png) => ({ id: request.id, png }),
      (error: unknown) => ({ id: request.id, reason: describeError(error) }),
    )
    parentPort!.postMessage(answer)
  })
})
