import { configurationSchema } from '@espalier/shared/configuration'
import { commandSchema, desiredSchema } from '@espalier/shared/messages/controller'
import { birthSchema, eventSchema, reportedSchema, stateSchema } from '@espalier/shared/messages/device'
import { z } from 'zod'
import { explanationSchema } from '../plan/explain.ts'
import { budgetBodySchema, budgetSchema } from './budget-schemas.ts'

export const errorSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) })

const latencySchema = z.object({ p50: z.number(), p95: z.number(), p99: z.number() })
const joulesPerFrameSchema = z.object({
  value: z.number(),
  dynamic: z.number(),
  source: z.string(),
  scope: z.string(),
  interval: z.tuple([z.number(), z.number()]),
})

/** Fields are absent where nothing was measured in the last ten seconds. */
const measuredShape = {
  frames: z.int(),
  dropped: z.int(),
  unsent: z.int(),
  late: z.int(),
  swaps: z.int(),
  latencyMs: latencySchema.optional(),
  joulesPerFrame: joulesPerFrameSchema.optional(),
  powerW: z.number().optional(),
  bitsPerSecond: z.number().optional(),
  framesPerSecond: z.number().optional(),
  psnrDb: z.number().optional(),
  agreementPct: z.number().optional(),
  configuration: configurationSchema.optional(),
  configurationId: z.string().optional(),
  phase: z.string().optional(),
}

const slotViewSchema = z.object({
  slot: z.string(),
  ...measuredShape,
  desiredId: z.string().optional(),
  leaseBps: z.number().optional(),
  uplink: z
    .object({
      sequence: z.number(),
      frames: z.number(),
      missing: z.number(),
      bytes: z.number(),
      bitsPerSecond: z.number(),
      ageMs: z.number(),
    })
    .optional(),
})

export const deviceViewSchema = z.object({
  id: z.string(),
  site: z.string().optional(),
  deviceClass: z.string().optional(),
  state: stateSchema.shape.state,
  reason: z.string().optional(),
  lastSeen: z.string(),
  ...measuredShape,
  desired: z.object({ gen: z.int(), configurationId: z.string() }).optional(),
  slots: z.array(slotViewSchema),
})
export type DeviceView = z.infer<typeof deviceViewSchema>
export type SlotView = z.infer<typeof slotViewSchema>

export const deviceDetailSchema = deviceViewSchema.extend({
  birth: birthSchema.optional(),
  reported: reportedSchema.optional(),
  desiredState: desiredSchema.optional(),
})

/** Cumulative figures of a device's first slot and of the device, to measure between two moments. */
export const totalsSchema = z.object({
  atMs: z.number(),
  frames: z.int(),
  bits: z.number(),
  joules: z.number(),
  deviceJoules: z.number(),
  idleW: z.number(),
  psnrSum: z.number(),
  psnrCount: z.int(),
})

export const decisionSchema = z.object({
  device: z.string(),
  slot: z.string(),
  gen: z.int(),
  at: z.string(),
  why: explanationSchema,
})

/** What a device told of, when it happened, and how that is known: see docs/offline.md. */
export const deviceEventsSchema = z.array(
  eventSchema.extend({
    at: z.iso.datetime(),
    /** Half-width of what is known of `at`; absent: nobody knows how long ago it was. */
    uncertaintyS: z.number().min(0).optional(),
    placedBy: z.enum(['contact', 'ntp', 'between']),
    receivedAt: z.iso.datetime(),
  }),
)

export const whySchema = z.object({
  device: z.string(),
  /** Under the latest plan, one for each slot. */
  now: z.array(z.object({ slot: z.string(), why: explanationSchema })),
  /** Decisions that were sent, latest first. */
  history: z.array(decisionSchema),
})

const rowSchema = z.object({
  total: z.number(),
  reserved: z.number(),
  planned: z.number(),
  margin: z.number(),
  isKept: z.boolean(),
})

/** A limit in the unit that it is set in, what the plan leaves of it, and what more would be worth. */
export const pricedRowSchema = z.object({
  /** `site:<id>`, `gateway:<id>`, `power`, `carbon`, `device:<id>`. */
  key: z.string(),
  unit: z.enum(['bit/s', 'W', 'g/h']),
  limit: z.number(),
  /** Held by leases of devices that do not answer. */
  reserved: z.number(),
  planned: z.number(),
  /** Kept free. */
  margin: z.number(),
  isKept: z.boolean(),
  /** Utility of one unit more. */
  price: z.number(),
  /** The same for people. */
  worth: z.string(),
})

export const planSchema = z.object({
  value: z.number(),
  bound: z.number(),
  /** Over whole choices; at most `bound`. */
  integerBound: z.number(),
  gap: z.number(),
  rows: z.array(pricedRowSchema),
  /** Of the rows, sites in bit/s and power in mW. */
  sites: z.array(rowSchema.extend({ site: z.string(), lambda: z.number() })),
  power: rowSchema.extend({ mu: z.number() }).optional(),
  slots: z.array(
    z.object({
      device: z.string(),
      slot: z.string(),
      site: z.string(),
      lease: z.object({ rateBps: z.number().optional(), powerW: z.number().optional() }),
      rungs: z.int(),
      why: explanationSchema,
    }),
  ),
  alarms: z.array(z.object({ kind: z.string(), subject: z.string(), message: z.string() })),
})
export type PlanView = z.infer<typeof planSchema>

export const budgetsSchema = z.object({
  budgets: z.array(budgetSchema),
  /** Latest first. */
  changes: z.array(
    z.object({
      at: z.string(),
      key: z.string(),
      before: budgetBodySchema.optional(),
      after: budgetBodySchema.optional(),
    }),
  ),
})

export const commandBodySchema = commandSchema

export const familySchema = z.object({
  family: z.string(),
  version: z.string(),
  task: z.string(),
  manifestDigest: z.string(),
  /** Of codecs. */
  codecDigest: z.string().optional(),
  licence: z.string(),
  variants: z.array(z.string()),
})

export const healthSchema = z.object({
  status: z.enum(['ok', 'degraded']),
  mqtt: z.boolean(),
  messages: z.object({
    received: z.int(),
    malformed: z.int(),
    repeated: z.int(),
    unstored: z.int(),
  }),
})
