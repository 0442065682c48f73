import { openClassifier } from '@espalier/shared/classifier/open-classifier'
import { type ClassifierVariant, inputSize } from '@espalier/shared/manifest/classifier-manifest'
import type { ClassifierFamily } from '@espalier/shared/manifest/open-family'
import type { LabelledPicture } from '../measure/pictures.ts'

export type Judged = NonNullable<ClassifierVariant['judged']>

/**
 * Run every variant of a family over pictures, as a device would.
 *
 * @param pictures Of the family's size, at least one.
 * @returns Variant id -> accuracy, and agreement with the first variant, in per cent.
 */
export async function judgeFamily(
  family: ClassifierFamily,
  pictures: readonly LabelledPicture[],
): Promise<ReadonlyMap<string, Judged>> {
  const { width, height } = inputSize(family.manifest.input)
  const isLabelled = pictures.every(({ label }) => label !== undefined)
  const share = (count: number): number => (100 * count) / pictures.length
  const judged = new Map<string, Judged>()
  let first: readonly number[] | undefined
  for (const { id } of family.manifest.variants) {
    const classifier = await openClassifier(family, { variant: id, threads: 1 })
    const answers: number[] = []
    try {
      for (const { rgb } of pictures) answers.push((await classifier.run({ width, height, rgb })).index)
    } finally {
      await classifier.close()
    }
    first ??= answers
    const right = answers.filter((answer, i) => answer === pictures[i]!.label).length
    const agreed = answers.filter((answer, i) => answer === first![i]).length
    judged.set(id, {
      pictures: pictures.length,
      ...(isLabelled ? { accuracyPct: share(right) } : {}),
      agreementPct: share(agreed),
    })
  }
  return judged
}
