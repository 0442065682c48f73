import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { FamilySource } from './open-family.ts'

/** The files of a family in a folder of this machine. */
export function folderSource(directory: string): FamilySource {
  return (name) => readFile(join(directory, name))
}
