import { z } from 'zod'
import { digestSchema } from '../ids.ts'

/** Bytes of the family, in `blobs/<sha256>`. */
export const blobSchema = z.object({ sha256: digestSchema, bytes: z.int().min(0) })
export type BlobEntry = z.infer<typeof blobSchema>
