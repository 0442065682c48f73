import { z } from 'zod'

/** What a slot runs: see DESIGN "configuration". Alpha is quantised to 1/255 everywhere so that it is one number. */
export const configurationSchema = z.object({
  family: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/),
  variant: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/),
  /** Alpha times 255: 0 is the anchor (highest rate), 255 the lowest rate. */
  alpha255: z.int().min(0).max(255),
  mode: z.enum(['merged', 'live']),
  backend: z.enum(['wasm', 'webgpu', 'native']),
  threads: z.int().min(1).max(64),
  /** Pixels; the source frame is resized to this before it is encoded. */
  width: z.int().min(16).max(8192),
  height: z.int().min(16).max(8192),
  /** Frames per second. */
  frameRate: z.number().positive().max(240),
})
export type Configuration = z.infer<typeof configurationSchema>

/** Whether they run the same graph at the same size on the same backend: changing between them needs no warm-up. */
export const isSameGraph = (a: Configuration, b: Configuration | undefined): boolean =>
  a.variant === b?.variant &&
  a.width === b.width &&
  a.height === b.height &&
  a.backend === b.backend &&
  a.threads === b.threads

/** The stable id of a configuration. @example 'kodo/base/a000/512x288@5/merged/wasm1' */
export function configurationId(c: Configuration): string {
  const alpha = String(c.alpha255).padStart(3, '0')
  return `${c.family}/${c.variant}/a${alpha}/${c.width}x${c.height}@${c.frameRate}/${c.mode}/${c.backend}${c.threads}`
}

/** The configuration that an id names; undefined if it names none. */
export function parseConfigurationId(id: string): Configuration | undefined {
  const match = /^([^/]+)\/([^/]+)\/a(\d{3})\/(\d+)x(\d+)@([\d.]+)\/(merged|live)\/([a-z]+)(\d+)$/.exec(id)
  if (match === null) return undefined
  const [, family, variant, alpha, width, height, frameRate, mode, backend, threads] = match
  const parsed = configurationSchema.safeParse({
    family,
    variant,
    alpha255: Number(alpha),
    mode,
    backend,
    threads: Number(threads),
    width: Number(width),
    height: Number(height),
    frameRate: Number(frameRate),
  })
  return parsed.success ? parsed.data : undefined
}
