import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AssembledFamily, assembleFamily, type FamilyDescription } from '@espalier/forge/family/assemble-family'
import { type ModelFile, openModelFile } from '@espalier/forge/model-file'
import { buildModel, type GraphSpec } from './build-graph.ts'

export const about: FamilyDescription = {
  family: 'toy',
  version: '0.1.0',
  licence: 'Apache-2.0',
  description: 'a toy',
  mean: [0.5, 0.5, 0.5],
  deviation: [0.25, 0.25, 0.25],
}

/** Model files of graphs. @param folder Made if it is absent; the files stay. */
export async function writeModels(
  folder: string,
  specs: Readonly<Record<string, GraphSpec>>,
): Promise<Map<string, ModelFile>> {
  await mkdir(folder, { recursive: true })
  const models = new Map<string, ModelFile>()
  for (const [id, spec] of Object.entries(specs)) {
    const path = join(folder, `${id}.onnx`)
    await writeFile(path, buildModel(spec))
    models.set(id, await openModelFile(path))
  }
  return models
}

export async function buildFamily(
  folder: string,
  specs: Readonly<Record<string, GraphSpec>>,
  changes: Partial<FamilyDescription> = {},
): Promise<AssembledFamily> {
  return assembleFamily(await writeModels(folder, specs), { ...about, ...changes })
}
