import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { makeDecimator, playFrames } from '@espalier/agent/source/frames'
import { openImageFolder } from '@espalier/agent/source/image-folder'
import type { PictureStream } from '@espalier/agent/source/source'
import { openVideoFile } from '@espalier/agent/source/video-file'
import { decodePicture } from '@espalier/agent/worker/decode-picture'
import { systemClock } from '@espalier/shared/clock'
import fc from 'fast-check'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

let home: string
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'source-'))
  mkdirSync(join(home, 'images'))
  const image = (value: number, width: number, height: number, name: string) =>
    sharp({ create: { width, height, channels: 3, background: { r: value, g: value, b: value } } })
      .png()
      .toFile(join(home, 'images', name))
  await image(20, 32, 16, 'b.png')
  await image(10, 24, 16, 'a.png')
  writeFileSync(join(home, 'images', 'notes.txt'), 'no image')
})
afterAll(() => rmSync(home, { recursive: true, force: true }))

describe('openImageFolder()', () => {
  test('gives the images by name, all of the first one’s size, and starts again when it loops', async () => {
    const stream = await openImageFolder(join(home, 'images'), { loop: true })
    const files = [await stream.next(), await stream.next(), await stream.next()]
    const pictures = await Promise.all(files.map((file) => decodePicture(file!)))

    expect(pictures.map((picture) => picture.rgb[0])).toEqual([10, 20, 10])
    for (const picture of pictures) expect(picture).toMatchObject({ width: 24, height: 16 })
    expect(pictures[1]!.rgb).toHaveLength(24 * 16 * 3)
  })

  test('ends after the last image when it does not loop', async () => {
    const stream = await openImageFolder(join(home, 'images'), { loop: false })
    await stream.next()
    await stream.next()
    expect(await stream.next()).toBeUndefined()
  })

  test('says what is wrong with a folder', async () => {
    await expect(openImageFolder(join(home, 'absent'), { loop: true })).rejects.toMatchObject({ code: 'CONFIG' })
    await expect(openImageFolder(home, { loop: true })).rejects.toThrow(/found no image/)
    mkdirSync(join(home, 'damaged'))
    writeFileSync(join(home, 'damaged', 'a.png'), 'not a picture')
    await expect(openImageFolder(join(home, 'damaged'), { loop: true })).rejects.toThrow(/Cannot read image ".*a\.png"/)
  })

  test('leaves the decoding to the worker, which names the file that is no image', async () => {
    const damaged = { width: 8, height: 8, name: 'b.png', file: new TextEncoder().encode('not a picture') }
    await expect(decodePicture(damaged)).rejects.toThrow(/Cannot read image "b\.png"/)
  })
})

/** A program that answers as ffprobe and ffmpeg do: three frames of 2 x 2 pixels, cut at odd places. */
function writeFakeFfmpeg(): { ffmpeg: string; ffprobe: string } {
  const write = (name: string, body: string): string => {
    const path = join(home, name)
    writeFileSync(path, `#!${process.execPath}\n${body}`)
    chmodSync(path, 0o755)
    return path
  }
  return {
    ffprobe: write('ffprobe.cjs', `console.log('{"streams":[{"width":2,"height":2}]}')`),
    ffmpeg: write(
      'ffmpeg.cjs',
      `const all = Buffer.from(Array.from({ length: 36 }, (_, i) => Math.floor(i / 12)))
       process.stdout.write(all.subarray(0, 7)); setTimeout(() => process.stdout.write(all.subarray(7)), 20)`,
    ),
  }
}

describe('openVideoFile()', () => {
  test('cuts the output of ffmpeg into frames and ends with it', async () => {
    const stream = await openVideoFile('clip.mp4', { loop: false, frameRate: 5 }, writeFakeFfmpeg())
    const frames = [await stream.next(), await stream.next(), await stream.next()]

    expect(frames.map((frame) => [...frame!.rgb])).toEqual([0, 1, 2].map((value) => new Array(12).fill(value)))
    expect(await stream.next()).toBeUndefined()
    await stream.close()
  })

  test('says that ffmpeg is not installed', async () => {
    const programs = { ffmpeg: 'no-such-ffmpeg', ffprobe: 'no-such-ffprobe' }
    await expect(openVideoFile('clip.mp4', { loop: true, frameRate: 5 }, programs)).rejects.toThrow(/install ffmpeg/)
  })
})

function blankStream(count: number): PictureStream {
  let given = 0
  return {
    width: 1,
    height: 1,
    next: async () => (given++ < count ? { width: 1, height: 1, rgb: new Uint8Array(3) } : undefined),
    close: async () => undefined,
  }
}

describe('playFrames()', () => {
  test('keeps the schedule however long each frame takes to be used', async () => {
    const arrivals: number[] = []
    const { signal } = new AbortController()
    for await (const frame of playFrames(blankStream(6), 50, systemClock, signal)) {
      arrivals.push(frame.arrivedMs)
      await delay(arrivals.length % 2 === 0 ? 15 : 1)
    }
    for (const [i, arrivedMs] of arrivals.entries()) expect(arrivedMs - arrivals[0]!).toBeCloseTo(i * 20, 6)
  })

  test('skips and counts what was due while the device slept', async () => {
    let nowMs = 0
    const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs }
    const seen: Array<[number, number]> = []
    for await (const frame of playFrames(blankStream(3), 1000, clock, new AbortController().signal)) {
      seen.push([frame.arrivedMs, frame.skippedBefore])
      nowMs += seen.length === 1 ? 5000 : 1
    }
    expect(seen).toEqual([
      [0, 0],
      [5000, 4999],
      [5001, 0],
    ])
  })
})

test('makeDecimator() takes an even share of the frames, and all of them at equal or higher rates', () => {
  const rate = fc.integer({ min: 1, max: 60 })
  fc.assert(
    fc.property(rate, rate, (source, wanted) => {
      const take = makeDecimator()
      const taken = Array.from({ length: source * 10 }, () => take(source, wanted)).filter(Boolean).length
      expect(Math.abs(taken - Math.min(source, wanted) * 10)).toBeLessThanOrEqual(1)
    }),
  )
  const take = makeDecimator()
  expect(Array.from({ length: 6 }, () => take(10, 5))).toEqual([true, false, true, false, true, false])
})
