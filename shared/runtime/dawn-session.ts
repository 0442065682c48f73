import { ConfigError, ModelError } from '../errors.ts'
import { importNative } from './import-native.ts'
import { openOrtSession } from './ort-session.ts'
import type { GraphOptions, Session } from './session.ts'

/**
 * Open a graph on a GPU from Node: onnxruntime-node has Dawn, the WebGPU of Chromium, within its binaries for x64 and
 * for macOS. What the GPU has no kernel for runs on the processor.
 *
 * @throws {ConfigError} If the package is not installed, has no WebGPU on this machine, or there is no adapter.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openDawnSession(graph: Uint8Array, options: GraphOptions): Promise<Session> {
  const runtime = await importNative('webgpu')
  if (!runtime.listSupportedBackends().some(({ name }) => name === 'webgpu'))
    throw new ConfigError(
      `Cannot open backend "webgpu": onnxruntime-node has none for ${process.platform}-${process.arch}, expected x64 or macOS`,
    )
  return openOrtSession(runtime, graph, options, {
    executionProviders: ['webgpu'],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  }).catch((error: unknown) => {
    const adapter =
      error instanceof ModelError ? /Failed to get a WebGPU adapter[^\n]*/.exec(error.message)?.[0] : undefined
    if (adapter === undefined) throw error
    throw new ConfigError(`Cannot open backend "webgpu": ${adapter}`, { cause: error })
  })
}
