import { z } from 'zod'
import { configurationSchema } from '../configuration.ts'
import { digestSchema, slotIdSchema } from '../ids.ts'

/** Retained on `_controller/state`; the will is `offline`. */
export const controllerStateSchema = z.object({
  state: z.enum(['online', 'offline']),
})
export type ControllerState = z.infer<typeof controllerStateSchema>

/** One rung: a configuration and what the controller expects it to cost on this device. */
export const rungSchema = z.object({
  configuration: configurationSchema,
  rateBps: z.number().min(0),
  powerW: z.number().min(0),
  utility: z.number(),
  /** Of one frame; absent: not predicted. */
  latencyMs: z.number().min(0).optional(),
})
export type Rung = z.infer<typeof rungSchema>

/** A version of a family, and where a device that does not have it finds it. */
export const familyOrderSchema = z.object({
  manifestDigest: digestSchema,
  /**
   * A folder of any web server with `manifest.json`, `manifest.sig` where it is signed, and `blobs/<sha256>`; absent:
   * `api/v1/families/<manifestDigest>/` of the controller.
   */
  url: z
    .url({ protocol: /^https?$/ })
    .max(500)
    .optional(),
})
export type FamilyOrder = z.infer<typeof familyOrderSchema>

/**
 * Retained; a higher `gen` always supersedes. `ladder[0]` is what the plan chose, the rest are the rungs that
 * the device may fall to by itself, in order of falling rate and power (DESIGN "ladder").
 */
export const desiredSchema = z.object({
  gen: z.int().min(1),
  /** Seconds between telemetry messages. */
  telemetryIntervalS: z.number().min(0.2).max(3600),
  slots: z.array(
    z.object({
      slot: slotIdSchema,
      /** The version of the family to go to; absent: what the slot has stays. */
      family: familyOrderSchema.optional(),
      /**
       * For the version that the slot has (`reported`, else birth), also while it goes to another: that one runs the
       * same ladder, where it can, until it gets its own.
       */
      ladder: z.array(rungSchema).min(1).max(64),
      lease: z.object({
        /** Absent: no limit. */
        rateBps: z.number().min(0).optional(),
        powerW: z.number().min(0).optional(),
        /** Seconds from receipt for which the lease holds. */
        ttlS: z.number().positive(),
      }),
      prices: z.object({
        /** Utility per bit/s of the site's uplink. */
        lambda: z.number().min(0),
        /** Utility per watt of the fleet. */
        mu: z.number().min(0),
      }),
    }),
  ),
})
export type Desired = z.infer<typeof desiredSchema>

/**
 * `rebirth` asks for birth, state and reported again; `key-frame` for a frame that stands alone, because the receiver
 * lost one that others follow; `roll-back` for the version of the family before the present one; `pause` for no frames
 * until `resume`, over restarts too; `profile` measures again how fast each backend is.
 */
export const commandSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('rebirth') }),
  z.object({ kind: z.literal('restart-worker') }),
  z.object({ kind: z.literal('snapshot'), slot: slotIdSchema }),
  z.object({ kind: z.literal('key-frame'), slot: slotIdSchema }),
  z.object({ kind: z.literal('roll-back'), slot: slotIdSchema }),
  z.object({ kind: z.literal('pause'), slot: slotIdSchema }),
  z.object({ kind: z.literal('resume'), slot: slotIdSchema }),
  z.object({ kind: z.literal('profile'), slot: slotIdSchema }),
])
export type Command = z.infer<typeof commandSchema>
