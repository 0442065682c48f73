import { openCodec } from '@espalier/shared/codec/open-codec'
import { isCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { openFamily } from '@espalier/shared/manifest/open-family'
import type { Backend } from '@espalier/shared/runtime/session'
import { ClassifierPipeline } from './classifier-pipeline.ts'
import { CodecPipeline } from './codec-pipeline.ts'
import type { Pipeline } from './pipeline.ts'

/** The pipeline of a family's task. @throws {IntegrityError} If the family is not what its manifest says. */
export async function openPipeline(
  familyDir: string,
  { backend, threads }: { readonly backend: Backend; readonly threads: number },
): Promise<Pipeline> {
  const family = await openFamily(familyDir)
  return isCodecFamily(family)
    ? new CodecPipeline(await openCodec(family, { backend, threads }))
    : new ClassifierPipeline(family, { backend, threads })
}
