import { type KeyObject, sign, verify } from 'node:crypto'
import { z } from 'zod'
import { describeError, IntegrityError } from '../errors.ts'
import { canonicalJson } from '../manifest/manifest.ts'
import { isPublicKeyText, parsePublicKey, publicKeyText } from './keys.ts'

export const publicKeySchema = z
  .string()
  .refine(isPublicKeyText, 'expected an Ed25519 public key of 43 base64url characters, as "espalier forge key" prints')

/**
 * A document with the key that signed it and an Ed25519 signature (RFC 8032) over the UTF-8 of its canonical JSON
 * (RFC 8785). The document's own `format` is among what is signed, so that one kind cannot be passed off as another.
 */
export const signedSchema = z.object({
  document: z.unknown(),
  key: publicKeySchema,
  signature: z.string().regex(/^[A-Za-z0-9_-]{86}$/, 'expected 86 base64url characters'),
})
export type Signed = z.infer<typeof signedSchema>

const bytesOf = (document: unknown): Buffer => Buffer.from(canonicalJson(document))

export function signDocument(document: unknown, privateKey: KeyObject): Signed {
  return {
    document,
    key: publicKeyText(privateKey),
    signature: sign(null, bytesOf(document), privateKey).toString('base64url'),
  }
}

/**
 * Check who signed a document, and that nobody altered it since.
 *
 * @param trustedKey Public key as text; undefined: whichever signed it, for a first meeting.
 * @throws {IntegrityError} If it is not signed, by another key, or altered.
 */
export function openSigned(signed: unknown, name: string, trustedKey: string | undefined): Signed {
  const parsed = signedSchema.safeParse(signed)
  if (!parsed.success)
    throw new IntegrityError(
      `Cannot trust "${name}": found no signature, ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
    )
  const { document, key, signature } = parsed.data
  if (trustedKey !== undefined && key !== trustedKey)
    throw new IntegrityError(`Cannot trust "${name}": found key "${key}", expected "${trustedKey}"`)
  if (!isVerified(document, key, signature))
    throw new IntegrityError(`Cannot trust "${name}": the signature is not that of key "${key}" over these contents`)
  return parsed.data
}

function isVerified(document: unknown, key: string, signature: string): boolean {
  try {
    return verify(null, bytesOf(document), parsePublicKey(key), Buffer.from(signature, 'base64url'))
  } catch (error) {
    throw new IntegrityError(`Cannot check a signature: ${describeError(error)}`, { cause: error })
  }
}
