import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { access, cp, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { digestSchema } from '@espalier/shared/ids'
import { openFamily } from '@espalier/shared/manifest/open-family'
import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Passwords } from '../../broker/passwords.ts'
import type { Families, FamilyScan } from '../../families.ts'
import type { Store } from '../../store/open-store.ts'
import { actorOf } from '../actor.ts'
import { ApiError } from '../api-error.ts'
import { errorSchema } from '../schemas.ts'

export interface FamilyVersionRouteOptions {
  readonly families: Families
  readonly store: Store
  readonly passwords: Passwords | undefined
  /** Where versions lie, a folder each. */
  readonly familiesDir: string
  readonly nowMs: () => number
  /** There are other versions than before. */
  readonly onScan: (scan: FamilyScan) => void
}

const MAX_MANIFEST_BYTES = 16 * 1024 * 1024
const MAX_BLOB_BYTES = 1024 * 1024 * 1024
const versionSchema = z.object({ family: z.string(), version: z.string(), manifestDigest: z.string() })
const scanSchema = z.object({
  added: z.array(versionSchema),
  removed: z.array(versionSchema),
  refused: z.array(z.object({ folder: z.string(), reason: z.string() })),
})
const blobSchema = z.object({ sha256: z.string(), bytes: z.int() })

/** Every blob that a manifest names, each once: wherever a digest and a length stand together. */
export function blobsNamedIn(value: unknown, found = new Map<string, number>()): Map<string, number> {
  if (typeof value !== 'object' || value === null) return found
  const { sha256, bytes } = value as { sha256?: unknown; bytes?: unknown }
  if (digestSchema.safeParse(sha256).success && typeof bytes === 'number') found.set(sha256 as string, bytes)
  // Where a variant came from is told, not shipped.
  for (const [key, inner] of Object.entries(value)) if (key !== 'source') blobsNamedIn(inner, found)
  return found
}

/** Versions of families come in here: what is new is sent, what another version has is taken from there. */
export function addFamilyVersionRoutes(instance: FastifyInstance, options: FamilyVersionRouteOptions): void {
  const { families, familiesDir, store } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  const errors = { 400: errorSchema, 404: errorSchema, 409: errorSchema, 413: errorSchema, 503: errorSchema }
  // A name that begins with a dot is not taken for a family while it is being written.
  const incoming = (digest: string): string => join(familiesDir, `.incoming-${digest}`)
  const isThere = (path: string): Promise<boolean> =>
    access(path).then(
      () => true,
      () => false,
    )

  const scan = async (): Promise<z.infer<typeof scanSchema>> => {
    const found = await families.scan()
    if (found.added.length + found.removed.length > 0) options.onScan(found)
    const view = (list: FamilyScan['added']) =>
      list.map(({ manifest, manifestDigest }) => ({
        family: manifest.family,
        version: manifest.version,
        manifestDigest: manifestDigest as string,
      }))
    return {
      added: view(found.added),
      removed: view(found.removed),
      // Names of folders, not where they are on this machine.
      refused: found.refused.map(({ directory, reason }) => ({
        folder: directory.slice(familiesDir.length + 1),
        reason: reason.replaceAll(familiesDir, '.'),
      })),
    }
  }

  async function missingBlobs(folder: string): Promise<z.infer<typeof blobSchema>[]> {
    const named = blobsNamedIn(JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')))
    const here = new Set(await readdir(join(folder, 'blobs')))
    return [...named].filter(([sha256]) => !here.has(sha256)).map(([sha256, bytes]) => ({ sha256, bytes }))
  }

  api.post('/families/scan', { schema: { response: { 200: scanSchema, ...errors } } }, async (request) => {
    const found = await scan()
    const by = actorOf(request, options.passwords)
    for (const { family, ...after } of found.added)
      store.audit.add({ atMs: options.nowMs(), by, kind: 'family', action: 'add', subject: family, after })
    return found
  })

  api.post(
    '/families',
    {
      bodyLimit: MAX_MANIFEST_BYTES,
      schema: {
        body: z.strictObject({
          /** The text of `manifest.json`, and of `manifest.sig`. */
          manifest: z.string(),
          signature: z.string().max(10_000).optional(),
        }),
        response: { 200: z.object({ manifestDigest: z.string(), missing: z.array(blobSchema) }), ...errors },
      },
    },
    async (request) => {
      const { manifest, signature } = request.body
      const bytes = Buffer.from(manifest)
      const source = async (name: string): Promise<Uint8Array> => {
        if (name === 'manifest.json') return bytes
        throw new Error(`no ${name} yet`)
      }
      const { manifestDigest, manifest: parsed } = await openFamily(source).catch((error: Error) => {
        throw new ApiError(400, 'BAD_REQUEST', error.message)
      })
      if (families.version(manifestDigest) !== undefined) return { manifestDigest, missing: [] }
      const folder = incoming(manifestDigest)
      await mkdir(join(folder, 'blobs'), { recursive: true })
      await writeFile(join(folder, 'manifest.json'), bytes)
      if (signature !== undefined) await writeFile(join(folder, 'manifest.sig'), signature)
      // Versions of a family share most of their blobs.
      for (const [sha256] of blobsNamedIn(parsed)) {
        const to = join(folder, 'blobs', sha256)
        if (await isThere(to)) continue
        for (const { directory } of families.list()) {
          const from = join(directory, 'blobs', sha256)
          if (await isThere(from)) {
            await cp(from, to)
            break
          }
        }
      }
      return { manifestDigest, missing: await missingBlobs(folder) }
    },
  )

  api.register(async (upload) => {
    upload.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload))
    upload.withTypeProvider<ZodTypeProvider>().put(
      '/families/:digest/blobs/:sha256',
      {
        bodyLimit: MAX_BLOB_BYTES,
        schema: {
          params: z.object({ digest: digestSchema, sha256: digestSchema }),
          response: { 204: z.null(), ...errors },
        },
      },
      async (request, reply) => {
        const { digest, sha256 } = request.params
        const folder = incoming(digest)
        const expected = (await missingBlobs(folder).catch(() => [])).find((blob) => blob.sha256 === sha256)
        if (expected === undefined)
          throw new ApiError(404, 'NOT_FOUND', `Cannot take blob "${sha256}": "${digest}" does not wait for it`)
        const aside = join(folder, `.${sha256}-${request.id}`)
        const hash = createHash('sha256')
        let bytes = 0
        try {
          await pipeline(
            request.body as Readable,
            async function* check(chunks: AsyncIterable<Buffer>) {
              for await (const chunk of chunks) {
                bytes += chunk.length
                if (bytes > expected.bytes)
                  throw new ApiError(
                    400,
                    'BAD_REQUEST',
                    `Cannot take blob "${sha256}": expected ${expected.bytes} bytes, found more`,
                  )
                hash.update(chunk)
                yield chunk
              }
            },
            createWriteStream(aside, { flush: true }),
          )
          const found = hash.digest('hex')
          if (found !== sha256)
            throw new ApiError(
              400,
              'BAD_REQUEST',
              `Cannot take blob "${sha256}": found digest ${found} over ${bytes} bytes`,
            )
          await rename(aside, join(folder, 'blobs', sha256))
        } finally {
          await rm(aside, { force: true })
        }
        return reply.code(204).send(null)
      },
    )
  })

  api.post(
    '/families/:digest/commit',
    { schema: { params: z.object({ digest: digestSchema }), response: { 200: versionSchema, ...errors } } },
    async (request) => {
      const { digest } = request.params
      const known = families.version(digest)
      const folder = incoming(digest)
      if (known === undefined) {
        const missing = await missingBlobs(folder).catch(() => undefined)
        if (missing === undefined)
          throw new ApiError(404, 'NOT_FOUND', `Cannot find family "${digest}": send its manifest first`)
        if (missing.length > 0)
          throw new ApiError(409, 'CONFLICT', `Cannot add family "${digest}": ${missing.length} blobs are missing`)
        const { manifest } = await openFamily(folder)
        const name = `${manifest.family}-${manifest.version}`.replaceAll(/[^a-z0-9.-]/gi, '-')
        const path = join(familiesDir, name)
        const to = (await isThere(path)) ? `${path}-${digest.slice(0, 12)}` : path
        await rename(folder, to)
        const { refused } = await scan()
        if (families.version(digest) === undefined) {
          await rm(to, { recursive: true })
          await families.scan()
          const reason = refused.find(({ folder: each }) => to.endsWith(`/${each}`))?.reason
          throw new ApiError(400, 'BAD_REQUEST', `Cannot add family "${digest}": ${reason ?? 'it was refused'}`)
        }
      }
      const { manifest } = families.version(digest)!
      const { family, version } = manifest
      const after = { version, manifestDigest: digest }
      const by = actorOf(request, options.passwords)
      if (known === undefined)
        store.audit.add({ atMs: options.nowMs(), by, kind: 'family', action: 'add', subject: family, after })
      return { family, ...after }
    },
  )
}
