import { z } from 'zod'
import { configurationSchema } from '../configuration.ts'
import { slotIdSchema } from '../ids.ts'

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
 * lost one that others follow.
 */
export const commandSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('rebirth') }),
  z.object({ kind: z.literal('restart-worker') }),
  z.object({ kind: z.literal('snapshot'), slot: slotIdSchema }),
  z.object({ kind: z.literal('key-frame'), slot: slotIdSchema }),
])
export type Command = z.infer<typeof commandSchema>
