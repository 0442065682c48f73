import type { WeightTensor } from '../codec/weights.ts'

/** Where graphs run: onnxruntime-web's WASM, onnxruntime-node, or a GPU (onnxruntime-web in a browser, onnxruntime-node elsewhere). */
export type Backend = 'wasm' | 'native' | 'webgpu'

/** Numbers in C order that belong to no runtime. */
export interface TensorData {
  readonly type: 'float32' | 'uint8'
  readonly dims: readonly number[]
  readonly data: Float32Array | Uint8Array
}

/** A graph ready to run. Calls must not overlap: most runtimes compute on the calling thread. */
export interface Session {
  /** @returns A new buffer, which is the caller's. */
  run(input: TensorData, weights: ReadonlyMap<string, WeightTensor>): Promise<TensorData>
  close(): Promise<void>
}

/** A file that a graph refers to as external data: its path as the graph writes it, and what is in it. */
export interface ExternalData {
  readonly path: string
  readonly data: Uint8Array
}

export interface GraphOptions {
  /** Names of the input that is no weight, of the output, and of the inputs that are weights. */
  readonly input: string
  readonly output: string
  readonly weightInputs: readonly string[]
  /**
   * What the graph's external data refers to; none unless given. onnxruntime-web holds them for one opening at a
   * time: graphs with external data must be opened one after the other.
   */
  readonly externalData?: readonly ExternalData[]
  /** At least 1. `webgpu` computes nothing heavy on them; see `openWasmSession` for when it takes effect. */
  readonly threads: number
  /** For messages. */
  readonly name: string
}
