import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { ConfigError, describeError } from '@espalier/shared/errors'

/** Certificate chain and private key, as PEM. */
export interface Tls {
  readonly cert: Buffer
  readonly key: Buffer
}

/**
 * @returns Undefined without files: plain http.
 * @throws {ConfigError} If a file cannot be read, or the two do not belong together.
 */
export function readTls(certFile: string | undefined, keyFile: string | undefined): Tls | undefined {
  if (certFile === undefined || keyFile === undefined) return undefined
  try {
    const tls = { cert: readFileSync(certFile), key: readFileSync(keyFile) }
    createSecureContext(tls)
    return tls
  } catch (cause) {
    throw new ConfigError(`Cannot serve https with "${certFile}" and "${keyFile}": ${describeError(cause)}`, { cause })
  }
}
