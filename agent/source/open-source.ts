import type { SourceConfig } from '../config.ts'
import { openImageFolder } from './image-folder.ts'
import type { PictureStream } from './source.ts'
import { openVideoFile } from './video-file.ts'

/** @throws {ConfigError} If the source is not there. */
export function openSource(config: SourceConfig): Promise<PictureStream> {
  switch (config.kind) {
    case 'images':
      return openImageFolder(config.path, config)
    case 'video':
      return openVideoFile(config.path, config)
  }
}
