import { execFile } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { z } from 'zod'
import type { ImageFile, PictureStream } from './source.ts'

const IMAGE_NAME = /\.(png|jpe?g|webp|avif|tiff?|gif)$/i

/** Child processes run built JavaScript. @see agent/source/probe-image.ts */
const PROBE_PATH = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../dist/source/probe-image.js' : '../source/probe-image.js',
    import.meta.url,
  ),
)
const sizeSchema = z.object({ width: z.int().positive(), height: z.int().positive() })

/** In a process of its own, as a video's size is: the decoder does not stay in this one. */
async function probeSize(path: string): Promise<{ width: number; height: number }> {
  const { stdout } = await promisify(execFile)(process.execPath, [PROBE_PATH, path]).catch(
    ({ stderr }: { stderr?: string }) => {
      throw new ConfigError(`Cannot read image "${path}": ${stderr?.trim() || 'its decoder did not start'}`)
    },
  )
  return sizeSchema.parse(JSON.parse(stdout))
}

/**
 * The images of a folder, sorted by name, as frames of the first image's size; not decoded.
 *
 * @throws {ConfigError} If there is no folder, no image in it, or the first is none.
 */
export async function openImageFolder(
  path: string,
  { loop }: { loop: boolean },
): Promise<PictureStream & { next(): Promise<ImageFile | undefined> }> {
  const names = await readdir(path).catch((cause: unknown) => {
    throw new ConfigError(`Cannot open image folder "${path}": ${describeError(cause)}`, { cause })
  })
  const paths = names
    .filter((name) => IMAGE_NAME.test(name))
    .sort()
    .map((name) => join(path, name))
  if (paths.length === 0)
    throw new ConfigError(`Cannot open image folder "${path}": found no image, expected .png, .jpg, .webp or the like`)
  const { width, height } = await probeSize(paths[0]!)
  let position = 0
  return {
    width,
    height,
    async next() {
      if (position === paths.length) {
        if (!loop) return undefined
        position = 0
      }
      const next = paths[position++]!
      return { width, height, name: basename(next), file: await readFile(next) }
    },
    close: async () => undefined,
  }
}
