import { ed25519 } from '@noble/curves/ed25519.js'
import { sha256 } from '@noble/hashes/sha2.js'

// Of `node:crypto`, what a device checks signatures with: a browser's own crypto answers later only, and that of many
// does not know Ed25519. A page signs nothing.

/** The 32 bytes of an Ed25519 public key. */
export interface KeyObject {
  readonly bytes: Uint8Array
}

function fromBase64Url(text: string): Uint8Array {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0))
}

export function createPublicKey({ key }: { readonly key: { readonly x: string } }): KeyObject {
  const bytes = fromBase64Url(key.x)
  // Throws unless the bytes are a point of the curve.
  ed25519.Point.fromBytes(bytes)
  return { bytes }
}

export function verify(_algorithm: null, data: Uint8Array, { bytes }: KeyObject, signature: Uint8Array): boolean {
  return ed25519.verify(signature, data, bytes)
}

/** For files that come piece by piece: a browser's own digests want them whole. */
export function createHash(_algorithm: 'sha256') {
  const hash = sha256.create()
  const digester = {
    update(data: string | Uint8Array) {
      hash.update(typeof data === 'string' ? new TextEncoder().encode(data) : data)
      return digester
    },
    digest: (_encoding: 'hex'): string =>
      Array.from(hash.digest(), (byte) => byte.toString(16).padStart(2, '0')).join(''),
  }
  return digester
}

export function randomBytes(count: number): { toString(encoding: 'hex'): string } {
  const bytes = crypto.getRandomValues(new Uint8Array(count))
  return { toString: () => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('') }
}

const refuse = (): never => {
  throw new Error('Cannot sign: a page holds no private keys')
}

export { refuse as createPrivateKey, refuse as generateKeyPairSync, refuse as sign }
