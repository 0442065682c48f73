import { ConfigError, describeError } from '../errors.ts'
import type { Backend } from './session.ts'

const PACKAGE = 'onnxruntime-node'

/**
 * An optional peer: its binaries exist for some machines only and take 288 MB of disk.
 *
 * @throws {ConfigError} If the package is not installed, or has no binary for this machine.
 */
export async function importNative(backend: Backend): Promise<typeof import('onnxruntime-node')> {
  try {
    // By a name that bundlers do not follow: they would pack the binaries of every platform, or fail.
    const runtime = await import(PACKAGE)
    return runtime.default ?? runtime
  } catch (cause) {
    throw new ConfigError(
      `Cannot open backend "${backend}": ${describeError(cause).split('\n')[0]}; it needs the package "${PACKAGE}": npm install ${PACKAGE}@1.30.0 --onnxruntime-node-install=skip`,
      { cause },
    )
  }
}
