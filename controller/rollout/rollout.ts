import { EspalierError } from '@espalier/shared/errors'
import { type DeviceId, deviceIdSchema, digestSchema, type SlotId, slotIdSchema } from '@espalier/shared/ids'
import { familyNameSchema } from '@espalier/shared/manifest/head'
import { familyOrderSchema } from '@espalier/shared/messages/controller'
import { updateSchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import { hoursSchema } from './hours.ts'
import { selectorTextSchema } from './selector.ts'

const share = z.number().min(0).max(1)

/** How much worse a version may be than the one before, as a share: 0.1 lets a latency of 100 ms grow to 110 ms. */
export const toleranceSchema = z.strictObject({
  latencyP95: z.number().min(0.01).max(10).default(0.15),
  joulesPerFrame: z.number().min(0.01).max(10).default(0.1),
  bitsPerFrame: z.number().min(0.01).max(10).default(0.1),
})
export type CostName = keyof z.infer<typeof toleranceSchema>
export const COST_NAMES = Object.keys(toleranceSchema.shape) as readonly CostName[]

/** What an operator asks for. */
export const rolloutSpecSchema = z.strictObject({
  family: familyNameSchema,
  /** Of the version to bring out; one that the controller has. */
  manifestDigest: digestSchema,
  /** Where devices fetch it; absent: from the controller. */
  url: familyOrderSchema.shape.url,
  /** Which devices, e.g. `site=local,kind in (cam,kiosk),!lab`; empty: all that run the family. */
  selector: selectorTextSchema.default(''),
  /** Devices that come first whatever share the first wave has; absent: chosen over sites and classes. */
  canaries: selectorTextSchema.optional(),
  /** Ends of the waves, in percent of the devices; rising, the last is 100. */
  wavesPct: z
    .array(z.number().gt(0).max(100))
    .min(1)
    .max(20)
    .default([5, 25, 50, 100])
    .refine((ends) => ends.every((end, i) => i === 0 || end > ends[i - 1]!), 'waves must rise')
    .refine((ends) => ends.at(-1) === 100, 'the last wave must end at 100'),
  /** Wait for an operator's `resume` after each wave. */
  needsApproval: z.boolean().default(false),
  /** How long the last device of a wave has run the version before the wave is judged. */
  soakS: z.number().min(0).max(604_800).default(600),
  /** Of a wave's devices that came to an end, the least share that must have committed. */
  successShare: share.default(0.9),
  /** Of all devices, the share that may fail before the rollout stops. */
  errorBudgetShare: share.default(0.05),
  /** A device that is in contact and has not ended an update after this long has failed. */
  stuckS: z.number().min(10).max(2_592_000).default(3600),
  tolerance: toleranceSchema.prefault({}),
  /** What becomes of devices that committed when the rollout stops by itself. */
  onStop: z.enum(['hold', 'roll-back']).default('hold'),
  /** When devices may be given the order, in the time zone of their site; absent: always. */
  hours: hoursSchema.optional(),
  /** Devices on a metered link wait. */
  unmeteredOnly: z.boolean().default(false),
  /** So many slots fetch and try the version at one time. */
  maxUpdating: z.int().min(1).max(100_000).default(200),
})
export type RolloutSpec = z.infer<typeof rolloutSpecSchema>

export const ROLLOUT_STATES = [
  'planned',
  'running',
  'paused',
  'stopped',
  'done',
  'rolling-back',
  'rolled-back',
] as const
export const rolloutStateSchema = z.enum(ROLLOUT_STATES)
export type RolloutState = z.infer<typeof rolloutStateSchema>

/** One metric of the devices on the new version against those on the old. */
export const comparisonSchema = z.object({
  metric: z.enum(['latencyP95', 'joulesPerFrame', 'bitsPerFrame']),
  /** `none`: too little was measured to say anything. */
  method: z.enum(['mann-whitney', 'wilcoxon', 'threshold', 'none']),
  newDevices: z.int().min(0),
  oldDevices: z.int().min(0),
  /** Estimated change of the cost by the version, percent; above 0 is worse. */
  changePct: z.number().optional(),
  tolerancePct: z.number(),
  /** Of the hypothesis that the change is within the tolerance. */
  pValue: z.number().min(0).max(1).optional(),
  isRegression: z.boolean(),
})
export type Comparison = z.infer<typeof comparisonSchema>

export const waveSchema = z.object({
  state: z.enum(['waiting', 'running', 'soaking', 'passed', 'failed']),
  startedMs: z.int().optional(),
  /** When its last device had ended. */
  soakFromMs: z.int().optional(),
  judgedMs: z.int().optional(),
  comparisons: z.array(comparisonSchema),
})
export type Wave = z.infer<typeof waveSchema>

/** Everything that is kept of a rollout beside its members. */
export const rolloutSchema = z.object({
  id: z.string(),
  spec: rolloutSpecSchema,
  state: rolloutStateSchema,
  /** Index of the wave that runs; -1 before the first. */
  wave: z.int().min(-1),
  waves: z.array(waveSchema),
  /** Why it is in this state. */
  reason: z.string(),
  createdMs: z.int(),
  createdBy: z.string(),
  changedMs: z.int(),
})
export type Rollout = z.infer<typeof rolloutSchema>

export const MEMBER_STATES = [
  'waiting',
  'held',
  'ordered',
  'updating',
  'succeeded',
  'failed',
  'withdrawn',
  'returning',
  'returned',
] as const

/** A slot of a device in a rollout. */
export const memberSchema = z.object({
  device: deviceIdSchema,
  slot: slotIdSchema,
  /** Index of its wave. */
  wave: z.int().min(0),
  /**
   * `waiting` for its wave, `held` though its wave runs (see reason), `ordered` and not begun, `updating`, `succeeded`
   * or `failed`; `withdrawn` before it ended, `returning` to the version it had, `returned`.
   */
  state: z.enum(MEMBER_STATES),
  reason: z.string().optional(),
  /** The version that it had when it was ordered, and goes back to. */
  fromDigest: digestSchema.optional(),
  orderedMs: z.int().optional(),
  /** When it came to an end, as the controller saw. */
  endedMs: z.int().optional(),
  /** As the device last reported. */
  update: updateSchema.optional(),
  /** Attempts that the device had made at this version before it was ordered. */
  attemptsBefore: z.int().min(0).optional(),
  /** When something of it last moved, or the device was out of contact. */
  movedMs: z.int().optional(),
  /** Logarithms of what its frames cost relative to the cards, before it was ordered. */
  costsBefore: z
    .object({
      latencyP95: z.number().optional(),
      joulesPerFrame: z.number().optional(),
      bitsPerFrame: z.number().optional(),
    })
    .optional(),
})
export type Member = z.infer<typeof memberSchema>
export type MemberState = Member['state']

export type SlotKey = `${DeviceId}/${SlotId}`
export const slotKey = ({ device, slot }: { readonly device: DeviceId; readonly slot: SlotId }): SlotKey =>
  `${device}/${slot}`

/** Rollouts that give out orders now; two of one family must not meet in a device. */
export const isLive = ({ state }: Pick<Rollout, 'state'>): boolean =>
  state === 'planned' || state === 'running' || state === 'paused' || state === 'rolling-back'

/** Something was asked that a rollout cannot do. */
export class RolloutError extends EspalierError {
  readonly code = 'ROLLOUT'
}
