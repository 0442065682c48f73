import { execFile, spawn } from 'node:child_process'
import { promisify } from 'node:util'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { z } from 'zod'
import type { PictureStream } from './source.ts'

const probeSchema = z.object({
  streams: z.tuple([z.object({ width: z.int().positive(), height: z.int().positive() })]),
})

async function probeSize(path: string, ffprobe: string): Promise<{ width: number; height: number }> {
  const select = ['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'stream=width,height', '-of', 'json']
  const { stdout } = await promisify(execFile)(ffprobe, [...select, path]).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(
      cause.code === 'ENOENT'
        ? `Cannot open video "${path}": found no "${ffprobe}"; install ffmpeg, or use a folder of images`
        : `Cannot open video "${path}": ${describeError(cause)}`,
      { cause },
    )
  })
  const parsed = probeSchema.safeParse(JSON.parse(stdout))
  if (!parsed.success) throw new ConfigError(`Cannot open video "${path}": found no video stream in it`)
  return parsed.data.streams[0]
}

/**
 * A video as frames, decoded by an `ffmpeg` process that is only read as fast as frames are played.
 *
 * @throws {ConfigError} If ffmpeg is not installed or the file holds no video.
 */
export async function openVideoFile(
  path: string,
  { loop, frameRate }: { loop: boolean; frameRate: number },
  programs: { ffmpeg: string; ffprobe: string } = { ffmpeg: 'ffmpeg', ffprobe: 'ffprobe' },
): Promise<PictureStream> {
  const { width, height } = await probeSize(path, programs.ffprobe)
  const input = [...(loop ? ['-stream_loop', '-1'] : []), '-i', path]
  const output = ['-vf', `fps=${frameRate}`, '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-']
  const child = spawn(programs.ffmpeg, ['-v', 'error', '-nostdin', ...input, ...output], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const failed = new Promise<never>((_, reject) =>
    child.once('error', (cause) =>
      reject(new ConfigError(`Cannot open video "${path}": ${describeError(cause)}`, { cause })),
    ),
  )
  failed.catch(() => undefined)
  const chunks = child.stdout.iterator() as AsyncIterator<Buffer>
  const frameBytes = width * height * 3
  let rest: Buffer = Buffer.alloc(0)
  return {
    width,
    height,
    async next() {
      const parts: Buffer[] = [rest]
      for (let bytes = rest.length; bytes < frameBytes; ) {
        const { value, done } = await Promise.race([chunks.next(), failed])
        if (done === true) return undefined
        parts.push(value)
        bytes += value.length
      }
      const all = Buffer.concat(parts)
      rest = all.subarray(frameBytes)
      return { width, height, rgb: all.subarray(0, frameBytes) }
    },
    async close() {
      child.kill('SIGKILL')
    },
  }
}
