import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ConfigError, IntegrityError } from '@espalier/shared/errors'
import { canonicalJson } from '@espalier/shared/manifest/manifest'
import { createKeyFile, readKeyFile } from '@espalier/shared/signature/key-file'
import { isPublicKeyText, makePrivateKey, parsePrivateKey, publicKeyText } from '@espalier/shared/signature/keys'
import { openSigned, signDocument } from '@espalier/shared/signature/signed-document'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'

const key = parsePrivateKey(makePrivateKey(), 'test')
const trusted = publicKeyText(key)

test('canonicalJson() writes numbers, strings and orders as RFC 8785 section 3.2 does', () => {
  const value = {
    numbers: [333333333.3333333, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
    string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/',
    literals: [null, true, false],
  }
  expect(canonicalJson(value)).toBe(
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
  )
  expect(
    canonicalJson({ '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }),
  ).toBe('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}')
  expect(() => canonicalJson({ a: Number.NaN })).toThrow(RangeError)
})

test('openSigned() takes what was signed, in any order of fields, and nothing that differs in a value', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), (document, extra) => {
      const signed = JSON.parse(JSON.stringify(signDocument(document, key)))
      expect(openSigned(signed, 'it', trusted).key).toBe(trusted)
      const reordered = Object.fromEntries(Object.entries(signed.document).reverse())
      expect(() => openSigned({ ...signed, document: reordered }, 'it', trusted)).not.toThrow()
      const altered = { ...signed.document, [`${extra}+`]: 1 }
      expect(() => openSigned({ ...signed, document: altered }, 'it', trusted)).toThrow(IntegrityError)
    }),
  )
})

test('openSigned() refuses a missing signature and another key, and says which was found', () => {
  const other = parsePrivateKey(makePrivateKey(), 'other')
  expect(() => openSigned({ document: {} }, 'it', undefined)).toThrow(/found no signature/)
  expect(() => openSigned(signDocument({}, other), 'it', trusted)).toThrow(
    `found key "${publicKeyText(other)}", expected "${trusted}"`,
  )
  const forged = { ...signDocument({}, other), key: trusted }
  expect(() => openSigned(forged, 'it', trusted)).toThrow(IntegrityError)
})

test('createKeyFile() writes for this user alone and replaces nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'key-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'deep', 'key.pem')
  const made = publicKeyText(createKeyFile(path))

  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(publicKeyText(readKeyFile(path))).toBe(made)
  expect(isPublicKeyText(made)).toBe(true)
  expect(() => createKeyFile(path)).toThrow(ConfigError)
})
