import { ModelError } from '../errors.ts'
import type { Task } from './manifest.ts'
import { type ClassifierFamily, type CodecFamily, type Family, type FamilySource, openFamily } from './open-family.ts'

export function isCodecFamily<Any extends Family>(family: Any): family is Any & CodecFamily {
  return family.manifest.task === 'image-codec'
}

export function isClassifierFamily<Any extends Family>(family: Any): family is Any & ClassifierFamily {
  return family.manifest.task === 'classification'
}

function refuse({ manifest }: Family, expected: Task): never {
  throw new ModelError(`Cannot use family "${manifest.family}": found task ${manifest.task}, expected ${expected}`)
}

/** @throws {IntegrityError} As `openFamily`. @throws {ModelError} If it is of another task. */
export async function openCodecFamily(from: string | FamilySource): Promise<CodecFamily> {
  const family = await openFamily(from)
  return isCodecFamily(family) ? family : refuse(family, 'image-codec')
}

/** @throws {IntegrityError} As `openFamily`. @throws {ModelError} If it is of another task. */
export async function openClassifierFamily(from: string | FamilySource): Promise<ClassifierFamily> {
  const family = await openFamily(from)
  return isClassifierFamily(family) ? family : refuse(family, 'classification')
}
