import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openFamilies } from '@espalier/controller/families'
import { signFamily } from '@espalier/forge/family/sign-family'
import { IntegrityError } from '@espalier/shared/errors'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { makePrivateKey, parsePrivateKey, publicKeyText } from '@espalier/shared/signature/keys'
import { requireSignature } from '@espalier/shared/signature/manifest-signature'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'

const MANIFEST = join(import.meta.dirname, '../../../models/kodo/manifest.json')
const key = parsePrivateKey(makePrivateKey(), 'test')
const check = requireSignature(publicKeyText(key))

function makeFamily(): { folder: string; directory: string } {
  const folder = mkdtempSync(join(tmpdir(), 'sign-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const directory = join(folder, 'kodo')
  rmSync(directory, { recursive: true, force: true })
  return { folder, directory }
}

async function copyManifest(directory: string): Promise<void> {
  const { mkdir, copyFile } = await import('node:fs/promises')
  await mkdir(directory)
  await copyFile(MANIFEST, join(directory, 'manifest.json'))
}

test('a family opens where a signature is asked for once it is signed, laid out anyhow, and its digest is the same', async () => {
  const { directory } = makeFamily()
  await copyManifest(directory)
  const { manifestDigest } = await openFamily(directory)
  await expect(openFamily(directory, check)).rejects.toThrow(/found no manifest.sig/)
  await signFamily(directory, key)
  const path = join(directory, 'manifest.json')
  writeFileSync(path, JSON.stringify(JSON.parse(readFileSync(path, 'utf8')), undefined, 2))
  expect((await openFamily(directory, check)).manifestDigest).toBe(manifestDigest)
})

test('a family that was altered, or signed by another key, is refused by agent and controller with the reason', async () => {
  const { folder, directory } = makeFamily()
  await copyManifest(directory)
  await signFamily(directory, parsePrivateKey(makePrivateKey(), 'other'))
  await expect(openFamily(directory, check)).rejects.toThrow(/found key/)
  await signFamily(directory, key)
  const path = join(directory, 'manifest.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace('"licence":"', '"licence":"not '))
  await expect(openFamily(directory, check)).rejects.toThrow(IntegrityError)
  const log = pino({ level: 'silent' })
  expect((await openFamilies(folder, log, check)).list()).toEqual([])
  expect((await openFamilies(folder, log)).list()).toHaveLength(1)
})
