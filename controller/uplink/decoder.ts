import { Worker } from 'node:worker_threads'
import { describeError, IntegrityError } from '@espalier/shared/errors'
import type { UplinkFrame } from '@espalier/shared/messages/uplink'

export interface DecodeRequest {
  readonly id: number
  /** Whose frames: what was decoded last is kept for the next. */
  readonly key: string
  /** Folder of the family. */
  readonly directory: string
  /** A key frame and what follows it; the last is wanted. */
  readonly streams: readonly Uint8Array[]
}

export type DecodeAnswer =
  | { readonly id: number; readonly png: Uint8Array }
  | { readonly id: number; readonly reason: string }

/** Decodes on demand in a thread of its own, so that MQTT and the API never wait for it. */
export interface Decoder {
  /**
   * The last frame of a chain as PNG. A slot has one decoding at a time: requests that come meanwhile share it, even if a newer frame
   * is there already. The answer is kept until it is asked for another frame.
   *
   * @throws {IntegrityError} If the stream is not one of this family.
   */
  decode(key: string, directory: string, chain: readonly UplinkFrame[]): Promise<Uint8Array>
  close(): Promise<void>
}

// Threads run JavaScript only: from a source tree the built file is taken.
const WORKER = new URL(
  import.meta.url.endsWith('.ts') ? '../dist/uplink/decode-worker.js' : './decode-worker.js',
  import.meta.url,
)

export function createDecoder(): Decoder {
  const kept = new Map<string, { frame: UplinkFrame; png: Promise<Uint8Array>; isDone: boolean }>()
  const waiting = new Map<number, { resolve: (png: Uint8Array) => void; reject: (error: Error) => void }>()
  let worker: Worker | undefined
  let nextId = 0

  const failAll = (failed: Worker, reason: string): void => {
    if (worker !== failed) return
    for (const { reject } of waiting.values()) reject(new IntegrityError(`Cannot decode frame: ${reason}`))
    waiting.clear()
    worker = undefined
  }
  const start = (): Worker => {
    const started = new Worker(WORKER, { execArgv: [] })
    started.on('message', (answer: DecodeAnswer) => {
      const request = waiting.get(answer.id)
      waiting.delete(answer.id)
      if ('png' in answer) request?.resolve(answer.png)
      else request?.reject(new IntegrityError(answer.reason))
    })
    // A thread that died is started again by the next request.
    started.on('error', (error) => failAll(started, describeError(error)))
    started.on('exit', () => failAll(started, 'the decoding thread ended'))
    return started
  }

  return {
    decode(key, directory, chain) {
      const frame = chain.at(-1)!
      const known = kept.get(key)
      if (known !== undefined && (known.frame === frame || !known.isDone)) return known.png
      worker ??= start()
      const id = nextId++
      const request: DecodeRequest = { id, key, directory, streams: chain.map(({ stream }) => stream) }
      const png = new Promise<Uint8Array>((resolve, reject) => waiting.set(id, { resolve, reject }))
      worker.postMessage(request)
      const entry = { frame, png, isDone: false }
      kept.set(key, entry)
      const done = () => {
        entry.isDone = true
      }
      png.then(done, done)
      return png
    },
    async close() {
      await worker?.terminate()
    },
  }
}
