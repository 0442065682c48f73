import * as ort from 'onnxruntime-web/webgpu'
import type { WeightTensor } from '../codec/weights.ts'
import { ConfigError } from '../errors.ts'
import { openOrtSession, type WeightFeed } from './ort-session.ts'
import type { GraphOptions, Session } from './session.ts'

/** What is used of WebGPU: its types come with a browser's, which Node code does without. */
export interface GpuBuffer {
  readonly size: number
  readonly mapState: 'unmapped' | 'pending' | 'mapped'
  destroy(): void
}
export interface GpuDevice {
  createBuffer(options: { size: number; usage: number }): GpuBuffer
  readonly queue: { writeBuffer(buffer: GpuBuffer, offset: number, data: Float32Array): void }
}

/** GPUBufferUsage.COPY_SRC | COPY_DST | STORAGE: what the runtime asks of a buffer that it reads. */
const BUFFER_USAGE = 0x04 | 0x08 | 0x80
/** The runtime binds whole vectors of four floats. */
const BUFFER_ALIGNMENT_BYTES = 16

/** Weights in buffers of the GPU: written when they change, one by one, and never for a frame. */
export function gpuFeed(device: GpuDevice): WeightFeed {
  const held = new Map<string, { weight: WeightTensor; buffer: GpuBuffer }>()
  let tensors: Record<string, ort.Tensor> = {}
  let fed: ReadonlyMap<string, WeightTensor> | undefined
  const hold = (name: string, weight: WeightTensor): ort.Tensor => {
    const before = held.get(name)
    const size = Math.ceil(weight.values.byteLength / BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES
    const buffer = before?.buffer ?? device.createBuffer({ size, usage: BUFFER_USAGE })
    device.queue.writeBuffer(buffer, 0, weight.values)
    held.set(name, { weight, buffer })
    return ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims: weight.shape })
  }
  return {
    feed(weights) {
      if (fed !== weights) {
        const entries = [...weights].map(([name, weight]) => {
          // Alpha leaves most of an encoder's shapes alone, and some of its weights too.
          const kept = held.get(name)?.weight === weight ? tensors[name] : undefined
          return [name, kept ?? hold(name, weight)] as const
        })
        tensors = Object.fromEntries(entries)
        fed = weights
      }
      return tensors
    },
    close() {
      for (const { buffer } of held.values()) buffer.destroy()
      held.clear()
    },
  }
}

/** @throws {ConfigError} If this is no browser with WebGPU, or it gives no adapter. */
export async function requireAdapter(): Promise<void> {
  const { navigator } = globalThis as { navigator?: { gpu?: { requestAdapter(): Promise<unknown> } } }
  const gpu = navigator?.gpu
  const adapter = await gpu?.requestAdapter()
  if (adapter === undefined || adapter === null)
    throw new ConfigError(
      `Cannot open backend "webgpu": found ${gpu === undefined ? 'no WebGPU' : 'no adapter'}, expected a browser with WebGPU and a page of a secure origin`,
    )
}

/**
 * Open a graph on onnxruntime-web's WebGPU backend. What the GPU has no kernel for runs in WASM.
 *
 * @throws {ConfigError} If this is no browser with WebGPU, or it gives no adapter.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openWebGpuSession(graph: Uint8Array, options: GraphOptions): Promise<Session> {
  await requireAdapter()
  ort.env.wasm.numThreads = options.threads
  ort.env.logLevel = 'error'
  return openOrtSession(ort, graph, options, { executionProviders: ['webgpu'] }, async () =>
    gpuFeed((await ort.env.webgpu.device) as GpuDevice),
  )
}
