import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { addFamilyRoutes, FAMILY_FILES } from '@espalier/controller/api/routes/families'
import { openFamily } from '@espalier/shared/manifest/open-family'
import Fastify, { type FastifyInstance } from 'fastify'
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod'
import { afterAll, beforeAll, expect, test } from 'vitest'

const FAMILY = join(import.meta.dirname, '../../../models/kodo')
let app: FastifyInstance
let base: string
let blob: string
let bytes: Buffer

beforeAll(async () => {
  const { manifest, manifestDigest } = await openFamily(FAMILY)
  if (manifest.task !== 'image-codec') throw new Error('not the codec')
  blob = manifest.entropy.sha256
  bytes = await readFile(join(FAMILY, 'blobs', blob))
  app = Fastify()
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  await app.register(
    async (api) => addFamilyRoutes(api, { families: { list: () => [{ manifestDigest, directory: FAMILY }] } }),
    {
      prefix: '/api/v1',
    },
  )
  base = `/api/v1/families/${manifestDigest}`
})
afterAll(() => app.close())

const get = (path: string, headers: Record<string, string> = {}) => app.inject({ url: `${base}/${path}`, headers })

test('a version is served by digest: whole, in part, and not again to who has it', async () => {
  expect((await get('manifest.json')).json()).toMatchObject({ family: 'kodo' })
  const whole = await get(`blobs/${blob}`)
  expect(whole.statusCode).toBe(200)
  expect(whole.headers).toMatchObject({
    etag: `"${blob}"`,
    'accept-ranges': 'bytes',
    'content-length': String(bytes.length),
  })
  expect(whole.rawPayload.equals(bytes)).toBe(true)
  const part = await get(`blobs/${blob}`, { range: 'bytes=100-', 'if-range': `"${blob}"` })
  expect(part.statusCode).toBe(206)
  expect(part.headers['content-range']).toBe(`bytes 100-${bytes.length - 1}/${bytes.length}`)
  expect(part.rawPayload.equals(bytes.subarray(100))).toBe(true)
  expect((await get(`blobs/${blob}`, { range: 'bytes=3-9' })).rawPayload).toEqual(bytes.subarray(3, 10))
  expect((await get(`blobs/${blob}`, { 'if-none-match': `"${blob}"` })).statusCode).toBe(304)
})

test('a part of something else is answered with the whole, one beyond the end with its length', async () => {
  expect((await get(`blobs/${blob}`, { range: 'bytes=100-', 'if-range': '"other"' })).statusCode).toBe(200)
  const beyond = await get(`blobs/${blob}`, { range: `bytes=${bytes.length}-` })
  expect(beyond.statusCode).toBe(416)
  expect(beyond.headers['content-range']).toBe(`bytes */${bytes.length}`)
})

test('what is not there, and what is no digest, is refused with a reason', async () => {
  expect((await get(`blobs/${'0'.repeat(64)}`)).json()).toMatchObject({ error: { code: 'NOT_FOUND' } })
  expect((await get('manifest.sig')).statusCode).toBe(404)
  expect((await app.inject(`/api/v1/families/${'0'.repeat(64)}/manifest.json`)).statusCode).toBe(404)
  expect((await get('blobs/..%2f..%2fmanifest.json')).statusCode).toBe(400)
  expect(FAMILY_FILES.test(`${base}/manifest.json`)).toBe(true)
  expect(FAMILY_FILES.test('/api/v1/families')).toBe(false)
})
