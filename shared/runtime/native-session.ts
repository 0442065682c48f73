import { importNative } from './import-native.ts'
import { openOrtSession } from './ort-session.ts'
import type { GraphOptions, Session } from './session.ts'

/**
 * Open a graph on onnxruntime-node: the processor's own instructions, several times as fast as WASM on x64.
 *
 * @throws {ConfigError} If the package is not installed, or has no binary for this machine.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openNativeSession(graph: Uint8Array, options: GraphOptions): Promise<Session> {
  return openOrtSession(await importNative('native'), graph, options, {
    executionProviders: ['cpu'],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    // Errors only: unused outputs and the like are of no use to who runs this.
    logSeverityLevel: 3,
  })
}
