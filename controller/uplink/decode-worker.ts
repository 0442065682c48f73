import { parentPort } from 'node:worker_threads'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import type { PictureCodec } from '@espalier/shared/codec/picture-codec'
import { describeError } from '@espalier/shared/errors'
import sharp from 'sharp'
import type { DecodeAnswer, DecodeRequest } from './decoder.ts'

/** Runs in a worker thread: inference blocks the thread that it runs on. */
const codecs = new Map<string, Promise<PictureCodec>>()

async function decode({ directory, stream }: DecodeRequest): Promise<Uint8Array> {
  const opening = codecs.get(directory) ?? openFamilyCodec(directory, { threads: 1 })
  codecs.set(directory, opening)
  const { width, height, rgb } = await (await opening).decode(stream)
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
