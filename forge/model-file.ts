import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, isAbsolute, relative, resolve } from 'node:path'
import { ConfigError, ModelError } from '@espalier/shared/errors'
import type { Graph } from './graph/graph.ts'
import { readModel } from './graph/read.ts'
import type { ReadExternal } from './graph/tensor.ts'
import { writeModel } from './graph/write.ts'

/** Where a model's history is kept: a list of what was done to it, oldest first. */
export const LINEAGE_KEY = 'espalier.lineage'

/** One pass over a model. */
export interface Lineage {
  readonly pass: string
  readonly parameters: Readonly<Record<string, unknown>>
  /** SHA-256 of the file that went in. */
  readonly from: string
}

export interface ModelFile {
  readonly path: string
  readonly graph: Graph
  readonly bytes: number
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Reads tensors from files in the model's own folder, and from nowhere else. */
function externalReader(path: string): ReadExternal {
  const folder = dirname(resolve(path))
  const files = new Map<string, Uint8Array>()
  return (location, offset, length) => {
    const file = resolve(folder, location)
    if (location === '' || /^\.\.([/\\]|$)/.test(relative(folder, file)) || isAbsolute(relative(folder, file)))
      throw new ModelError(`Cannot read model "${path}": its data in "${location}" lies outside of its folder`)
    let bytes = files.get(file)
    try {
      bytes ??= readFileSync(file)
    } catch (cause) {
      throw new ModelError(`Cannot read model "${path}": its data in "${location}" is absent`, { cause })
    }
    files.set(file, bytes)
    return bytes.subarray(offset, length === undefined ? undefined : offset + length)
  }
}

/** @throws {ConfigError} If the file cannot be read. @throws {ModelError} As `readModel`. */
export async function openModelFile(path: string): Promise<ModelFile> {
  const bytes = await readFile(path).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot read model "${path}": ${cause.code}`, { cause })
  })
  const graph = readModel(bytes, basename(path), externalReader(path))
  return { path, graph, bytes: bytes.length, digest: createHash('sha256').update(bytes).digest('hex') }
}

/** What was done to a model, as its metadata says; empty where it says nothing. */
export function lineageOf(graph: Graph): Lineage[] {
  const text = graph.model.metadataProps.find(({ key }) => key === LINEAGE_KEY)?.value
  try {
    const found: unknown = text === undefined ? [] : JSON.parse(text)
    return Array.isArray(found) ? (found as Lineage[]) : []
  } catch {
    return []
  }
}

/** Write a model aside, then in place, with its history. @returns The number of bytes. */
export async function saveModelFile(path: string, graph: Graph, step?: Lineage): Promise<number> {
  const lineage = step === undefined ? lineageOf(graph) : [...lineageOf(graph), step]
  const metadata = lineage.length === 0 ? {} : { [LINEAGE_KEY]: JSON.stringify(lineage) }
  const bytes = writeModel(graph, { metadata })
  const aside = `${path}.partial`
  await writeFile(aside, bytes).catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigError(`Cannot write model "${path}": ${cause.code}`, { cause })
  })
  await rename(aside, path)
  return bytes.length
}
