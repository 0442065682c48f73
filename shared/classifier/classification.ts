/** What a classifier says of a picture. */
export interface Classification {
  /** Position of the class in the output. */
  readonly index: number
  /** Its name; the position where the family names no classes. */
  readonly label: string
  /** Its probability, 0..1. */
  readonly score: number
}

/** Probability of one class, from what all of them were given before the softmax. */
function softmaxAt(logits: Float32Array, index: number): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const sum = logits.reduce((total, value) => total + Math.exp(value - largest), 0)
  return Math.exp(logits[index]! - largest) / sum
}

/**
 * The likeliest class.
 *
 * @param output One number for each class, at least one. @param labels As many, if any.
 */
export function classify(
  output: Float32Array,
  { scores, labels }: { scores: 'logits' | 'probabilities'; labels?: readonly string[] | undefined },
): Classification {
  const index = output.reduce((best, value, i) => (value > output[best]! ? i : best), 0)
  return {
    index,
    label: labels?.[index] ?? String(index),
    score: scores === 'logits' ? softmaxAt(output, index) : output[index]!,
  }
}

/** One line of JSON, without its end: what a classification takes where it is written or sent. */
export function formatClassification({ index, label, score }: Classification): string {
  return JSON.stringify({ index, label, score: Number(score.toPrecision(4)) })
}
