import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { digestSchema } from '@espalier/shared/ids'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { z } from 'zod'
import type { Families } from '../../families.ts'

/** Named by their digests: what was fetched once never changes. */
const FOR_EVER = 'public, max-age=31536000, immutable'

async function sendFile(reply: FastifyReply, path: string, type: string): Promise<FastifyReply> {
  const { size } = await stat(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== 'ENOENT') throw cause
    throw Object.assign(new Error('Cannot find that file of the family'), { statusCode: 404, code: 'NOT_FOUND' })
  })
  return reply.header('cache-control', FOR_EVER).header('content-length', size).type(type).send(createReadStream(path))
}

/** `/families/:digest/manifest.json` and `/families/:digest/blobs/:sha256`: a family as its folder has it. */
export function addFamilyRoutes(api: FastifyInstance, families: Families): void {
  const digest = z.object({ digest: digestSchema })
  const folderOf = (wanted: string): string => {
    const family = families.list().find(({ manifestDigest }) => manifestDigest === wanted)
    if (family !== undefined) return family.directory
    throw Object.assign(new Error(`Cannot find family "${wanted}": this controller has no such version`), {
      statusCode: 404,
      code: 'NOT_FOUND',
    })
  }
  api.get('/families/:digest/manifest.json', { schema: { params: digest } }, (request, reply) => {
    const { digest: wanted } = request.params as z.infer<typeof digest>
    return sendFile(reply, join(folderOf(wanted), 'manifest.json'), 'application/json')
  })
  const blob = digest.extend({ sha256: digestSchema })
  api.get('/families/:digest/blobs/:sha256', { schema: { params: blob } }, (request, reply) => {
    const { digest: wanted, sha256 } = request.params as z.infer<typeof blob>
    return sendFile(reply, join(folderOf(wanted), 'blobs', sha256), 'application/octet-stream')
  })
}
