import * as ort from 'onnxruntime-web'
import { openOrtSession } from './ort-session.ts'
import type { GraphOptions, Session } from './session.ts'

/**
 * Open a graph on onnxruntime-web's WASM backend: the one that every device has.
 *
 * `options.threads` takes effect with the first session of the process only: the runtime starts its threads once.
 *
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export function openWasmSession(graph: Uint8Array, options: GraphOptions): Promise<Session> {
  ort.env.wasm.numThreads = options.threads
  ort.env.logLevel = 'error'
  return openOrtSession(ort, graph, options, { executionProviders: ['wasm'] })
}
