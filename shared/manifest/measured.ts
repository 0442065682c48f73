import { z } from 'zod'

/** What a variant costs on devices of a class in one configuration; measured, never computed. `espalier forge profile` writes it. */
export const measuredSchema = z.object({
  deviceClass: z.string(),
  backend: z.enum(['wasm', 'webgpu', 'native']),
  threads: z.int().min(1),
  /** Pixels of the picture, and alpha times 255; 0 where the family has none. */
  width: z.int().positive(),
  height: z.int().positive(),
  alpha255: z.int().min(0).max(255),
  /** Runs that were timed. */
  samples: z.int().min(1),
  latencyMs: z.object({ p50: z.number().positive(), p95: z.number().positive() }),
  /** Above what the device draws idle. */
  joulesPerFrame: z.object({
    value: z.number().min(0),
    /** Where the joules come from, e.g. `rapl:package-0` or `model:utilisation`. */
    source: z.string(),
    /** 95 %. */
    interval: z.tuple([z.number().min(0), z.number().min(0)]),
  }),
  /** Of a process that holds the variant and nothing else. */
  rssBytes: z.number().positive(),
})
export type Measured = z.infer<typeof measuredSchema>
