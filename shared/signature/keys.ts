import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { ConfigError, describeError } from '../errors.ts'

/** The 32 bytes of an Ed25519 public key in base64url: 43 characters that fit a setting. */
const PUBLIC_KEY = /^[A-Za-z0-9_-]{43}$/

/** A new Ed25519 private key as PKCS#8 PEM. It is the caller's to keep secret. */
export function makePrivateKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
}

/** @throws {ConfigError} If the text is no Ed25519 private key. The text itself is never part of the message. */
export function parsePrivateKey(pem: string, name: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (cause) {
    throw new ConfigError(`Cannot read private key "${name}": ${describeError(cause)}, expected PKCS#8 PEM`)
  }
  if (key.asymmetricKeyType !== 'ed25519')
    throw new ConfigError(`Cannot use private key "${name}": found ${key.asymmetricKeyType}, expected ed25519`)
  return key
}

/** The public half of a private or public key, as settings and documents carry it. */
export function publicKeyText(key: KeyObject): string {
  return createPublicKey(key.type === 'private' ? key : { key: key.export({ format: 'jwk' }), format: 'jwk' }).export({
    format: 'jwk',
  }).x!
}

export function isPublicKeyText(text: string): boolean {
  if (!PUBLIC_KEY.test(text)) return false
  try {
    parsePublicKey(text)
    return true
  } catch {
    return false
  }
}

/** @throws If the text is no Ed25519 public key. */
export function parsePublicKey(text: string): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: text }, format: 'jwk' })
}
