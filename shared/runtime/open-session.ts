import type { Backend, GraphOptions, Session } from './session.ts'

const isNode = (): boolean => typeof process !== 'undefined' && process.versions?.node !== undefined

/** Loaded when it is first opened: a browser has no native backend, Node no WebGPU of its own, and each is large. */
const backends: Record<Backend, (graph: Uint8Array, options: GraphOptions) => Promise<Session>> = {
  wasm: async (graph, options) => (await import('./wasm-session.ts')).openWasmSession(graph, options),
  native: async (graph, options) => (await import('./native-session.ts')).openNativeSession(graph, options),
  webgpu: async (graph, options) =>
    isNode()
      ? (await import('./dawn-session.ts')).openDawnSession(graph, options)
      : (await import('./webgpu-session.ts')).openWebGpuSession(graph, options),
}

/**
 * Open a graph on one of the backends. All compute the same to within rounding, so a symbol at a rounding edge may
 * differ between encoders; what a stream decodes to never depends on it.
 *
 * @throws {ConfigError} If this machine does not have the backend.
 * @throws {ModelError} If the backend refuses the graph, or the graph's inputs are not those of the manifest.
 * @example await openSession(bytes, { backend: 'native', threads: 2, input: 'picture', output: 'latent', weightInputs, name: 'kodo/s' })
 */
export function openSession(graph: Uint8Array, options: GraphOptions & { backend: Backend }): Promise<Session> {
  return backends[options.backend](graph, options)
}
