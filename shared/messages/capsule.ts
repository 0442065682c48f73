import { z } from 'zod'
import { deviceIdSchema, slotIdSchema } from '../ids.ts'
import { desiredSchema, rungSchema } from './controller.ts'

const slotSchema = desiredSchema.shape.slots.element

/**
 * What a device does when nobody answers, signed by the controller: the body of `down/capsule` is a signed document
 * (shared/signature) that holds one of these. It repeats the lease of the desired state of the same generation.
 */
export const capsuleSchema = z.object({
  format: z.literal('espalier-capsule/1'),
  device: deviceIdSchema,
  /** Of the desired state that it belongs to. */
  gen: z.int().min(1),
  /** Milliseconds since 1970 when it was signed; of two with one `gen` the later counts. */
  issuedMs: z.int().min(0),
  /** Seconds without contact after which lease and prices say nothing any more: the budgets hold the lease for as long. */
  validS: z.number().positive(),
  slots: z
    .array(
      z.object({
        slot: slotIdSchema,
        /** Everything that prices could choose, best first; the last is the safe floor. */
        ladder: z.array(rungSchema).min(1).max(64),
        lease: slotSchema.shape.lease.omit({ ttlS: true }),
        prices: slotSchema.shape.prices,
      }),
    )
    .max(16),
})
export type Capsule = z.infer<typeof capsuleSchema>
export type CapsuleSlot = Capsule['slots'][number]
