import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { Command } from 'commander'
import { z } from 'zod'
import { type ApiOptions, formatTable, show, withApi } from '../api-command.ts'
import { callApi, requestApi } from '../fleet-api.ts'
import { startProgress } from '../progress.ts'

const familiesSchema = z.array(
  z.object({
    family: z.string(),
    version: z.string(),
    task: z.string(),
    manifestDigest: z.string(),
    licence: z.string(),
    variants: z.array(z.string()),
  }),
)
const versionSchema = z.object({ family: z.string(), version: z.string(), manifestDigest: z.string() })
const sentSchema = z.object({
  manifestDigest: z.string(),
  missing: z.array(z.object({ sha256: z.string(), bytes: z.number() })),
})
const scanSchema = z.object({
  added: z.array(versionSchema),
  removed: z.array(versionSchema),
  refused: z.array(z.object({ folder: z.string(), reason: z.string() })),
})

export const getFamilies = async (api: string) => familiesSchema.parse(await callApi(api, 'families'))

/** Send a version: its manifest, and the blobs of it that the controller has in no other version. */
async function addFamily(folder: string, api: string): Promise<z.infer<typeof versionSchema>> {
  const manifest = await readFile(join(folder, 'manifest.json'), 'utf8')
  const signature = await readFile(join(folder, 'manifest.sig'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  const body = { manifest, ...(signature === undefined ? {} : { signature }) }
  const { manifestDigest, missing } = sentSchema.parse(await callApi(api, 'families', { method: 'POST', body }))
  const bytes = missing.reduce((sum, blob) => sum + blob.bytes, 0)
  const progress = startProgress('bytes')
  let sent = 0
  for (const { sha256 } of missing) {
    const path = join(folder, 'blobs', sha256)
    const { size } = await stat(path)
    // Streamed: a model may be larger than what fits in memory.
    await requestApi(api, `families/${manifestDigest}/blobs/${sha256}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
      body: Readable.toWeb(createReadStream(path)) as ReadableStream,
      duplex: 'half',
    } as RequestInit)
    sent += size
    progress.update(sent, bytes)
  }
  progress.stop()
  return versionSchema.parse(await callApi(api, `families/${manifestDigest}/commit`, { method: 'POST' }))
}

export function registerFamilyCommands(program: Command): void {
  const families = program.command('families').description('versions of families that the controller has')
  withApi(families.command('list', { isDefault: true }))
    .description('all versions, the newest of a family first')
    .action((options: ApiOptions) =>
      show(
        options,
        () => getFamilies(options.api),
        (found) =>
          formatTable([
            ['FAMILY', 'VERSION', 'TASK', 'DIGEST', 'VARIANTS'],
            ...found.map((f) => [f.family, f.version, f.task, f.manifestDigest.slice(0, 12), f.variants.join(', ')]),
          ]),
      ),
    )
  withApi(families.command('add'))
    .description('give the controller a version; only the blobs that it lacks are sent')
    .argument('<folder>', 'with manifest.json and blobs, as "espalier forge family" writes it')
    .action((folder: string, options: ApiOptions) =>
      show(
        options,
        () => addFamily(folder, options.api),
        ({ family, version, manifestDigest }) =>
          `${family} ${version} (${manifestDigest.slice(0, 12)}) is there; bring it out with "espalier rollout create ${family} --to ${version}"`,
      ),
    )
  withApi(families.command('scan'))
    .description("look into the controller's folder of families again")
    .action((options: ApiOptions) =>
      show(
        options,
        async () => scanSchema.parse(await callApi(options.api, 'families/scan', { method: 'POST' })),
        ({ added, removed, refused }) =>
          [
            ...added.map(({ family, version }) => `added    ${family} ${version}`),
            ...removed.map(({ family, version }) => `removed  ${family} ${version}`),
            ...refused.map(({ folder, reason }) => `refused  ${folder}: ${reason}`),
          ].join('\n') || 'nothing has changed',
      ),
    )
}
