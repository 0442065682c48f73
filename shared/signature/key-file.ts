import type { KeyObject } from 'node:crypto'
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { ConfigError, describeError } from '../errors.ts'
import { makePrivateKey, parsePrivateKey } from './keys.ts'

/** @throws {ConfigError} If there is no readable Ed25519 private key. */
export function readKeyFile(path: string): KeyObject {
  let pem: string
  try {
    pem = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError(`Cannot read private key "${path}": ${describeError(cause)}`, { cause })
  }
  return parsePrivateKey(pem, path)
}

/**
 * Write a new private key that only this user may read.
 *
 * @throws {ConfigError} If there is a file already, or none can be written: a key is never replaced in passing.
 */
export function createKeyFile(path: string): KeyObject {
  const pem = makePrivateKey()
  try {
    mkdirSync(dirname(path), { recursive: true })
    const fd = openSync(path, 'wx', 0o600)
    try {
      writeSync(fd, pem)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (cause) {
    throw new ConfigError(`Cannot write private key "${path}": ${describeError(cause)}`, { cause })
  }
  return parsePrivateKey(pem, path)
}
