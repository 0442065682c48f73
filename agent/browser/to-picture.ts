import type { Picture } from '@espalier/shared/codec/picture-codec'

/** One canvas for each size: a camera gives the same one over and over. */
let kept: { canvas: OffscreenCanvas; context: OffscreenCanvasRenderingContext2D } | undefined

/** What an image or a video shows now, at a size. @returns A new buffer. */
export function toPicture(source: CanvasImageSource, { width, height }: { width: number; height: number }): Picture {
  if (kept?.canvas.width !== width || kept.canvas.height !== height) {
    const canvas = new OffscreenCanvas(width, height)
    kept = { canvas, context: canvas.getContext('2d', { willReadFrequently: true, alpha: false })! }
  }
  kept.context.drawImage(source, 0, 0, width, height)
  const { data } = kept.context.getImageData(0, 0, width, height)
  const rgb = new Uint8Array(width * height * 3)
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = data[from]!
    rgb[to + 1] = data[from + 1]!
    rgb[to + 2] = data[from + 2]!
  }
  return { width, height, rgb }
}
