import { ConfigError } from '@espalier/shared/errors'
import type { PictureStream } from '../source/source.ts'
import { toPicture } from './to-picture.ts'
import { untilAwake } from './wakefulness.ts'

/** The clip that ships, in order; fetched frame by frame and kept by the browser. */
const FRAMES = Object.entries(
  import.meta.glob<string>('../../models/clip/*.webp', { query: '?url', import: 'default', eager: true }),
)
  .sort(([a], [b]) => a.localeCompare(b))
  .map(([, url]) => url)

async function fetchFrame(url: string): Promise<ImageBitmap> {
  const response = await fetch(url)
  if (!response.ok) throw new ConfigError(`Cannot fetch "${url}": HTTP ${response.status}`)
  return createImageBitmap(await response.blob())
}

/** For a device without a camera, and for trying the agent out. */
export async function openClip({ loop }: { loop: boolean }): Promise<PictureStream> {
  const first = await fetchFrame(FRAMES[0]!)
  const { width, height } = first
  first.close()
  let position = 0
  return {
    width,
    height,
    async next() {
      await untilAwake()
      if (position === FRAMES.length) {
        if (!loop) return undefined
        position = 0
      }
      const image = await fetchFrame(FRAMES[position++]!)
      const picture = toPicture(image, { width, height })
      image.close()
      return picture
    },
    close: async () => undefined,
  }
}
