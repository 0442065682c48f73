import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's models/: the family and the clip that ship. Two levels up from cli/dist. */
export const MODELS_DIR = fileURLToPath(new URL('../../models', import.meta.url))
export const DEFAULT_FAMILY_DIR = join(MODELS_DIR, 'kodo')
export const CLIP_DIR = join(MODELS_DIR, 'clip')
