import { rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ConfigError } from '@espalier/shared/errors'
import { canonicalJson, type Manifest } from '@espalier/shared/manifest/manifest'
import type { Measured } from '@espalier/shared/manifest/measured'
import { openFamily } from '@espalier/shared/manifest/open-family'
import type { Profile } from './profile.ts'

function toMeasured(profile: Profile, deviceClass: string): Measured {
  const { backend, threads, width, height, alpha255, samples, latencyMs, rssBytes } = profile
  const { value, source, interval } = profile.joulesPerFrame
  const joulesPerFrame = { value, source, interval: [interval[0], interval[1]] as [number, number] }
  return { deviceClass, backend, threads, width, height, alpha255, samples, latencyMs, joulesPerFrame, rssBytes }
}

/** A manifest with new figures of a class of devices in place of all that were measured on it before. */
export function withMeasured(manifest: Manifest, profiles: readonly Profile[], deviceClass: string): Manifest {
  const variants = manifest.variants.map((variant) => {
    const own = profiles.filter((profile) => profile.variant === variant.id)
    if (own.length === 0) return variant
    const others = (variant.measured ?? []).filter((each) => each.deviceClass !== deviceClass)
    return { ...variant, measured: [...others, ...own.map((profile) => toMeasured(profile, deviceClass))] }
  })
  return { ...manifest, variants } as Manifest
}

/**
 * Put what was measured into a family's manifest: written aside, then in place.
 *
 * @throws {IntegrityError} If the family cannot be read. @throws {ConfigError} If its folder cannot be written.
 */
export async function writeCards(directory: string, profiles: readonly Profile[], deviceClass: string): Promise<void> {
  const { manifest } = await openFamily(directory)
  const path = join(directory, 'manifest.json')
  const text = canonicalJson(withMeasured(manifest, profiles, deviceClass))
  try {
    await writeFile(`${path}.partial`, text)
    await rename(`${path}.partial`, path)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new ConfigError(`Cannot write cards into "${directory}": ${code}`, { cause })
  }
}
