import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { digestSchema } from '@espalier/shared/ids'
import { SIGNATURE_FILE } from '@espalier/shared/signature/manifest-signature'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'

/** Folders of versions of families, by the digest of their manifests. */
export interface FamilyFolders {
  list(): readonly { readonly manifestDigest: string; readonly directory: string }[]
}

const paramsSchema = z.object({ digest: digestSchema })
const blobParamsSchema = paramsSchema.extend({ sha256: digestSchema })

/** What is under these paths never changes: their names say what is in them. */
const FOREVER = 'public, max-age=31536000, immutable'

/** A path of these routes: devices fetch there with their own password. */
export const FAMILY_FILES = /^\/api\/v1\/families\/[0-9a-f]{64}\//

/** One range from an offset to the end, or to another: all that a download needs, and all that is answered with a part. */
function rangeOf(header: string | undefined, bytes: number): { start: number; end: number } | 'none' | 'beyond' {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? '')
  if (match === null) return 'none'
  const start = Number(match[1])
  const end = match[2] === '' ? bytes - 1 : Math.min(Number(match[2]), bytes - 1)
  return start >= bytes || end < start ? 'beyond' : { start, end }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  )
}

async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  { path, name }: { readonly path: string | undefined; readonly name: string },
): Promise<unknown> {
  const bytes = path === undefined ? undefined : await sizeOf(path)
  if (path === undefined || bytes === undefined)
    return reply.code(404).send({ error: { code: 'NOT_FOUND', message: `Cannot find "${request.url}"` } })
  const etag = `"${name}"`
  reply.header('etag', etag).header('accept-ranges', 'bytes').header('cache-control', FOREVER)
  reply.type(path.endsWith('.json') ? 'application/json' : 'application/octet-stream')
  if (request.headers['if-none-match'] === etag) return reply.code(304).send()
  // RFC 9110, 13.1.5: a part of something else than what the device has begun is of no use to it.
  const wantsPart = request.headers['if-range'] === undefined || request.headers['if-range'] === etag
  const range = wantsPart ? rangeOf(request.headers.range, bytes) : 'none'
  if (range === 'beyond') return reply.code(416).header('content-range', `bytes */${bytes}`).send()
  if (range === 'none') return reply.header('content-length', bytes).send(createReadStream(path))
  const { start, end } = range
  reply
    .code(206)
    .header('content-range', `bytes ${start}-${end}/${bytes}`)
    .header('content-length', end - start + 1)
  return reply.send(createReadStream(path, { start, end }))
}

/**
 * Serve manifests, signatures and blobs of the versions that the controller holds, by digest, with ranges.
 *
 * Two versions of one family may lie in two folders: each is found by its own digest.
 */
export function addFamilyRoutes(api: FastifyInstance, { families }: { readonly families: FamilyFolders }): void {
  const send = (request: FastifyRequest, reply: FastifyReply, digest: string, file: string, name: string) => {
    const directory = families.list().find(({ manifestDigest }) => manifestDigest === digest)?.directory
    return sendFile(request, reply, { path: directory && join(directory, file), name })
  }
  const hide = { hide: true }

  api.get('/families/:digest/manifest.json', { schema: { ...hide, params: paramsSchema } }, (request, reply) => {
    const { digest } = request.params as z.infer<typeof paramsSchema>
    return send(request, reply, digest, 'manifest.json', digest)
  })
  api.get(`/families/:digest/${SIGNATURE_FILE}`, { schema: { ...hide, params: paramsSchema } }, (request, reply) => {
    const { digest } = request.params as z.infer<typeof paramsSchema>
    return send(request, reply, digest, SIGNATURE_FILE, `${digest}-signature`)
  })
  api.get('/families/:digest/blobs/:sha256', { schema: { ...hide, params: blobParamsSchema } }, (request, reply) => {
    const { digest, sha256 } = request.params as z.infer<typeof blobParamsSchema>
    return send(request, reply, digest, join('blobs', sha256), sha256)
  })
}
