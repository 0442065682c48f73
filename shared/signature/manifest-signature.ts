import type { KeyObject } from 'node:crypto'
import { describeError, IntegrityError } from '../errors.ts'
import type { FamilyCheck } from '../manifest/open-family.ts'
import { openSigned, type Signed, signDocument } from './signed-document.ts'

/** Beside `manifest.json`, so that the manifest and its digest are the same signed or not. */
export const SIGNATURE_FILE = 'manifest.sig'

const FORMAT = 'espalier-family-signature/1'

/** What `manifest.sig` says without repeating the manifest. */
export interface ManifestSignature {
  readonly key: string
  readonly signature: string
}

/** The whole JSON is covered, also what this version does not know. */
const documentOf = (manifestText: string): unknown => ({ format: FORMAT, manifest: JSON.parse(manifestText) })

/** @param manifestText JSON, in any order and layout. */
export function signManifest(manifestText: string, privateKey: KeyObject): ManifestSignature {
  const { key, signature } = signDocument(documentOf(manifestText), privateKey)
  return { key, signature }
}

/**
 * A check for `openFamily` that takes only what the owner of a key signed.
 *
 * @param trustedKey Public key as text.
 */
export function requireSignature(trustedKey: string): FamilyCheck {
  return async (manifestText, name, source) => {
    const text = await source(SIGNATURE_FILE).catch((cause: unknown) => {
      throw new IntegrityError(
        `Cannot trust family "${name}": found no ${SIGNATURE_FILE}, expected one by key "${trustedKey}"; sign it with "espalier forge sign"`,
        { cause },
      )
    })
    openSigned(signedOf(new TextDecoder().decode(text), manifestText, name), name, trustedKey)
  }
}

function signedOf(signatureText: string, manifestText: string, name: string): Signed {
  try {
    const { key, signature } = JSON.parse(signatureText) as ManifestSignature
    return { document: documentOf(manifestText), key, signature }
  } catch (cause) {
    throw new IntegrityError(`Cannot read signature of family "${name}": ${describeError(cause)}`, { cause })
  }
}
