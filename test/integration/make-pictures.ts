import { join } from 'node:path'
import sharp from 'sharp'

/** Three pictures of soft stripes, each another, as PNG files that an agent plays in a loop. */
export async function makePictures(
  folder: string,
  { width, height }: { width: number; height: number },
): Promise<void> {
  for (let i = 0; i < 3; i++) {
    const rgb = Buffer.from({ length: width * height * 3 }, (_: unknown, at: number) => (at * (i + 3) + i * 40) % 256)
    await sharp(rgb, { raw: { width, height, channels: 3 } })
      .blur(3)
      .png()
      .toFile(join(folder, `${i}.png`))
  }
}
