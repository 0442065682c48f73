import { ConfigError, describeError } from '../errors.ts'
import { openOrtSession } from './ort-session.ts'
import type { GraphOptions, Session } from './session.ts'

const PACKAGE = 'onnxruntime-node'

/** An optional peer: its binaries exist for some machines only and take 288 MB of disk. */
async function importRuntime(): Promise<typeof import('onnxruntime-node')> {
  try {
    // By a name that bundlers do not follow: they would pack the binaries of every platform, or fail.
    const runtime = await import(PACKAGE)
    return runtime.default ?? runtime
  } catch (cause) {
    throw new ConfigError(
      `Cannot open backend "native": ${describeError(cause).split('\n')[0]}; it needs the package "${PACKAGE}": npm install ${PACKAGE}@1.30.0 --onnxruntime-node-install=skip`,
      { cause },
    )
  }
}

/**
 * Open a graph on onnxruntime-node: the processor's own instructions, several times as fast as WASM on x64.
 *
 * @throws {ConfigError} If the package is not installed, or has no binary for this machine.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openNativeSession(graph: Uint8Array, options: GraphOptions): Promise<Session> {
  const runtime = await importRuntime()
  return openOrtSession(runtime, graph, options, {
    executionProviders: ['cpu'],
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    // Errors only: unused outputs and the like are of no use to who runs this.
    logSeverityLevel: 3,
  })
}
