import { z } from 'zod'
import { IntegrityError } from '../errors.ts'
import { classifierManifestSchema } from './classifier-manifest.ts'
import { codecManifestSchema } from './codec-manifest.ts'

/** One schema for each task. */
export const manifestSchema = z.discriminatedUnion('task', [codecManifestSchema, classifierManifestSchema])
export type Manifest = z.infer<typeof manifestSchema>
export type Task = Manifest['task']

/**
 * Canonical JSON (RFC 8785): the bytes that a digest or signature covers.
 *
 * @throws {RangeError} If a number is not finite: JSON has no word for it, and two values must not sign alike.
 */
export function canonicalJson(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new RangeError(`Cannot write ${value} as canonical JSON: expected a finite number`)
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value).filter(([, v]) => v !== undefined)
    entries.sort(([a], [b]) => (a < b ? -1 : 1))
    return `{${entries.map(([k, v]) => `${JSON.stringify(k)}:${canonicalJson(v)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

/** @throws {IntegrityError} If the text is no manifest of this format, or of a task that is not known. */
export function parseManifest(text: string, name: string): Manifest {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    throw new IntegrityError(`Cannot read manifest "${name}": found no JSON text`, { cause })
  }
  const parsed = manifestSchema.safeParse(json)
  if (!parsed.success)
    throw new IntegrityError(`Cannot read manifest "${name}": ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
  return parsed.data
}
