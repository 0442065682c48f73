import { ConfigError } from '@espalier/shared/errors'
import type { SourceConfig } from '../config.ts'
import type { PictureStream } from './source.ts'

/** @throws {ConfigError} If the source is not there. */
export async function openSource(config: SourceConfig): Promise<PictureStream> {
  switch (config.kind) {
    case 'images':
      return (await import('./image-folder.ts')).openImageFolder(config.path, config)
    case 'video':
      return (await import('./video-file.ts')).openVideoFile(config.path, config)
    case 'camera':
      throw new ConfigError(
        `Cannot open camera "${config.path}": found Node, expected a browser at the controller's /agent; here, "video" takes whatever ffmpeg can read`,
      )
  }
}
