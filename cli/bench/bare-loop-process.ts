import { Weights } from '@espalier/shared/codec/weights'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import * as ort from 'onnxruntime-web'
import { DEFAULT_FAMILY_DIR } from '../models.ts'

// What one would write to run the encoder once for each frame with onnxruntime-web and nothing else.

export interface BareStart {
  readonly variant: string
  readonly alpha255: number
  readonly width: number
  readonly height: number
  readonly rgb: Uint8Array
}

async function open({ variant, alpha255, width, height, rgb }: BareStart): Promise<() => Promise<number>> {
  const family = await openCodecFamily(DEFAULT_FAMILY_DIR)
  const { encoder } = family.manifest.variants.find(({ id }) => id === variant)!
  ort.env.wasm.numThreads = 1
  ort.env.logLevel = 'error'
  const session = await ort.InferenceSession.create(await family.readBlob(encoder), { executionProviders: ['wasm'] })
  const feeds: Record<string, ort.Tensor> = {}
  for (const [name, { values, shape }] of (await Weights.load(family, encoder)).at(alpha255))
    feeds[name] = new ort.Tensor('float32', values, shape)
  return async () => {
    const startedMs = performance.now()
    feeds[encoder.input] = new ort.Tensor('uint8', rgb, [1, height, width, 3])
    await session.run(feeds)
    return performance.now() - startedMs
  }
}

let run: (() => Promise<number>) | undefined
process.on('message', async (start: BareStart | 'run') => {
  if (start !== 'run') run = await open(start)
  process.send!(start === 'run' ? await run!() : 'ready')
})
process.on('disconnect', () => process.exit(0))
