import { digestSchema } from '@espalier/shared/ids'
import { updateSchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import {
  comparisonSchema,
  MEMBER_STATES,
  rolloutSpecSchema,
  rolloutStateSchema,
  waveSchema,
} from '../rollout/rollout.ts'

/** Slots of devices by the state that they are in. */
const countsSchema = z.object({
  total: z.int(),
  waiting: z.int(),
  held: z.int(),
  ordered: z.int(),
  updating: z.int(),
  succeeded: z.int(),
  failed: z.int(),
  withdrawn: z.int(),
  returning: z.int(),
  returned: z.int(),
})

export const rolloutSummarySchema = z.object({
  /** e.g. `kodo-3` */
  id: z.string(),
  family: z.string(),
  /** Of the version that is brought out, as its manifest says. */
  version: z.string().optional(),
  manifestDigest: z.string(),
  selector: z.string(),
  state: rolloutStateSchema,
  /** 1 is the first; 0 before it. */
  wave: z.int().min(0),
  waves: z.int().min(1),
  /** Why it is in this state, always. */
  reason: z.string(),
  createdAt: z.iso.datetime(),
  createdBy: z.string(),
  changedAt: z.iso.datetime(),
  counts: countsSchema,
})
export type RolloutSummary = z.infer<typeof rolloutSummarySchema>

export const rolloutListSchema = z.object({ rollouts: z.array(rolloutSummarySchema) })

const waveViewSchema = z.object({
  /** 1 is the first. */
  wave: z.int().min(1),
  /** Where it ends, in percent of all devices. */
  endPct: z.number(),
  state: waveSchema.shape.state,
  startedAt: z.iso.datetime().optional(),
  soakEndsAt: z.iso.datetime().optional(),
  judgedAt: z.iso.datetime().optional(),
  counts: countsSchema,
  /** New version against old, as last looked at. */
  comparisons: z.array(comparisonSchema),
})

export const rolloutViewSchema = rolloutSummarySchema.extend({
  spec: rolloutSpecSchema,
  waveList: z.array(waveViewSchema),
  /** Which of the actions are possible now. */
  actions: z.array(z.enum(['pause', 'resume', 'stop', 'roll-back'])),
})
export type RolloutView = z.infer<typeof rolloutViewSchema>

export const rolloutMemberSchema = z.object({
  device: z.string(),
  slot: z.string(),
  site: z.string().optional(),
  deviceClass: z.string().optional(),
  wave: z.int().min(1),
  state: z.enum(MEMBER_STATES),
  /** Why it waits, is held or failed. */
  reason: z.string().optional(),
  /** The version that it had, and the one it runs now. */
  fromDigest: z.string().optional(),
  nowDigest: z.string().optional(),
  orderedAt: z.iso.datetime().optional(),
  endedAt: z.iso.datetime().optional(),
  /** As the device reports: state, bytes, attempt, evidence of a trial. */
  update: updateSchema.optional(),
})
export type RolloutMember = z.infer<typeof rolloutMemberSchema>

export const rolloutMembersQuerySchema = z.object({
  state: z.enum(MEMBER_STATES).optional(),
  wave: z.coerce.number().int().min(1).optional(),
  /** `device/slot` of the last one of the page before. */
  after: z.string().max(100).optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
})

export const rolloutMembersSchema = z.object({
  members: z.array(rolloutMemberSchema),
  /** Give it as `after` for the next page; absent on the last. */
  next: z.string().optional(),
})

export const rolloutCreateSchema = rolloutSpecSchema.extend({
  manifestDigest: digestSchema,
  /** False: it waits for `resume`. */
  start: z.boolean().default(true),
})

/** What a rollout would do; nothing is changed. */
export const rolloutPreviewSchema = z.object({
  total: z.int(),
  waves: z.array(
    z.object({
      wave: z.int().min(1),
      endPct: z.number(),
      members: z.array(
        rolloutMemberSchema.pick({ device: true, slot: true, site: true, deviceClass: true, nowDigest: true }).extend({
          isConnected: z.boolean(),
          /** Why it could not be ordered right now. */
          held: z.string().optional(),
        }),
      ),
    }),
  ),
  /** Slots that run the version already. */
  alreadyThere: z.int(),
  /** Live rollouts of the family that it overlaps: creating it would be refused. */
  conflicts: z.array(z.string()),
})

export const rolloutActionSchema = z.strictObject({
  /** Kept in the audit. */
  reason: z.string().max(500).optional(),
})
