import type { Picture } from '@espalier/shared/codec/picture-codec'
import sharp, { type Sharp } from 'sharp'

/** What a user would pick instead. Qualities span about 0.1 to 2.5 bits a pixel on photographs. */
const BASELINES = {
  jpeg420: { qualities: [5, 15, 30, 45, 60, 73, 82, 90, 94], encode: jpeg('4:2:0') },
  jpeg444: { qualities: [5, 15, 30, 45, 60, 73, 82, 90], encode: jpeg('4:4:4') },
  webp: {
    qualities: [1, 15, 40, 60, 74, 82, 89, 95],
    encode: (picture: Picture, quality: number) => toSharp(picture).webp({ quality, effort: 4 }).toBuffer(),
  },
  avif: {
    qualities: [20, 30, 42, 53, 63, 72, 80],
    encode: (picture: Picture, quality: number) =>
      toSharp(picture).avif({ quality, effort: 3, chromaSubsampling: '4:4:4' }).toBuffer(),
  },
} as const
export type BaselineName = keyof typeof BASELINES
export const BASELINE_NAMES = Object.keys(BASELINES) as BaselineName[]

function toSharp({ width, height, rgb }: Picture): Sharp {
  return sharp(rgb, { raw: { width, height, channels: 3 } })
}

function jpeg(chromaSubsampling: '4:2:0' | '4:4:4') {
  return (picture: Picture, quality: number) =>
    toSharp(picture).jpeg({ quality, chromaSubsampling, optimiseCoding: true, mozjpeg: false }).toBuffer()
}

export function qualitiesOf(name: BaselineName): readonly number[] {
  return BASELINES[name].qualities
}

/** A real file and what it decodes to. */
export async function runBaseline(
  name: BaselineName,
  picture: Picture,
  quality: number,
): Promise<{ bytes: number; decoded: Picture }> {
  const file = await BASELINES[name].encode(picture, quality)
  const { data } = await sharp(file).removeAlpha().toColourspace('srgb').raw().toBuffer({ resolveWithObject: true })
  return { bytes: file.length, decoded: { ...picture, rgb: data } }
}
