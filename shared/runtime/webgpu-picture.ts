import * as ort from 'onnxruntime-web/webgpu'
import type { WeightTensor } from '../codec/weights.ts'
import { describeError, ModelError } from '../errors.ts'
import type { GraphOptions, TensorData } from './session.ts'
import { type GpuBuffer, type GpuDevice, gpuFeed, requireAdapter } from './webgpu-session.ts'

/** An output that stays where it was computed. */
export interface GpuOutput {
  readonly buffer: GpuBuffer
  readonly dims: readonly number[]
  /** Give the buffer back to the runtime: commands that read it must have been submitted before. */
  release(): void
}

/** A graph whose output is drawn and not read. Calls must not overlap. */
export interface GpuPictureSession {
  /** Of the runtime: whoever draws its outputs must use the same. */
  readonly device: GpuDevice
  run(input: TensorData, weights: ReadonlyMap<string, WeightTensor>): Promise<GpuOutput>
  close(): Promise<void>
}

/**
 * Open a graph on WebGPU whose output is not copied back.
 *
 * @throws {ConfigError} If this is no browser with WebGPU, or it gives no adapter.
 * @throws {ModelError} If the runtime refuses the graph.
 */
export async function openGpuPicture(graph: Uint8Array, options: GraphOptions): Promise<GpuPictureSession> {
  await requireAdapter()
  ort.env.wasm.numThreads = options.threads
  ort.env.logLevel = 'error'
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ['webgpu'],
    graphOptimizationLevel: 'all',
    preferredOutputLocation: 'gpu-buffer',
  }).catch((cause: unknown) => {
    throw new ModelError(`Cannot load graph "${options.name}": ${describeError(cause)}`, { cause })
  })
  const device = (await ort.env.webgpu.device) as GpuDevice
  const weightFeed = gpuFeed(device)
  return {
    device,
    async run({ type, data, dims }, weights) {
      const input = new ort.Tensor(type, data, dims)
      const outputs = await session.run({ [options.input]: input, ...weightFeed.feed(weights) })
      const tensor = outputs[options.output]!
      if (tensor.location !== 'gpu-buffer')
        throw new ModelError(`Cannot draw "${options.name}": its output is in "${tensor.location}", expected the GPU`)
      return { buffer: tensor.gpuBuffer as GpuBuffer, dims: tensor.dims, release: () => tensor.dispose() }
    },
    async close() {
      weightFeed.close()
      await session.release()
    },
  }
}
