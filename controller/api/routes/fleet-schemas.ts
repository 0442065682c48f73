import { z } from 'zod'
import { causeSchema, changeSchema } from '../../overview/change-log.ts'
import { deviceRowSchema } from '../../overview/device-row.ts'
import { groupingSchema, groupSchema } from '../../overview/group-rows.ts'
import { explanationSchema } from '../../plan/explain.ts'

/** A limit, what is used and planned of it, and what more of it is worth. */
const budgetRowSchema = z.object({
  /** `fleet` (power, W) or `site:<id>` (rate, bit/s). */
  key: z.string(),
  unit: z.enum(['W', 'bit/s']),
  /** Measured now. */
  used: z.number(),
  /** Absent: no budget. */
  total: z.number().optional(),
  planned: z.number().optional(),
  margin: z.number().optional(),
  reserved: z.number().optional(),
  isKept: z.boolean().optional(),
  /** Utility of one unit more; 0: not scarce. */
  price: z.number().optional(),
})
export type BudgetRow = z.infer<typeof budgetRowSchema>

export const fleetSummarySchema = z.object({
  atMs: z.number(),
  fleet: groupSchema,
  /** Devices by scope of what measures their power, e.g. `{ board: 12, modelled: 3 }`. */
  byScope: z.record(z.string(), z.int()),
  /** Devices by where their last update stands. */
  byUpdate: z.record(z.string(), z.int()),
  plan: z
    .object({ value: z.number(), bound: z.number(), integerBound: z.number(), gap: z.number(), slots: z.int() })
    .optional(),
  power: budgetRowSchema,
  /** Sites of which the uplink has the highest prices, or is most used; at most eight. */
  tightest: z.array(budgetRowSchema),
  sites: z.int(),
  changesLastHour: z.int(),
  alarms: z.array(z.object({ kind: z.string(), subject: z.string(), message: z.string() })),
  alarmCount: z.int(),
  /** What devices can be grouped by. */
  groupings: z.array(groupingSchema),
})
export type FleetSummary = z.infer<typeof fleetSummarySchema>

export const fleetMapSchema = z.object({
  by: groupingSchema,
  groups: z.array(groupSchema.extend({ budget: budgetRowSchema.optional() })),
})
export type FleetMap = z.infer<typeof fleetMapSchema>

export const devicePageSchema = z.object({ total: z.int(), offset: z.int(), rows: z.array(deviceRowSchema) })
export type DevicePage = z.infer<typeof devicePageSchema>

export const fleetChangesSchema = z.object({
  sinceMs: z.number(),
  total: z.int(),
  causes: z.array(causeSchema),
  /** Latest first. */
  changes: z.array(changeSchema),
})
export type FleetChanges = z.infer<typeof fleetChangesSchema>

export const fleetSeriesSchema = z.object({
  scope: z.string(),
  points: z.array(
    z.object({
      atMs: z.number(),
      powerW: z.number(),
      rateBps: z.number(),
      gramsPerHour: z.number(),
      framesPerSecond: z.number(),
      gap: z.number().optional(),
      budget: z.number().optional(),
      devices: z.number(),
      troubled: z.number(),
    }),
  ),
})
export type FleetSeries = z.infer<typeof fleetSeriesSchema>

const slotPointSchema = z.object({
  slot: z.string(),
  configurationId: z.string(),
  rateBps: z.number(),
  framesPerSecond: z.number(),
  joulesPerFrame: z.number().optional(),
  latencyP95Ms: z.number().optional(),
  psnrDb: z.number().optional(),
})

/** A device between two kept messages. */
export const deviceSeriesSchema = z.object({
  device: z.string(),
  points: z.array(
    z.object({
      atMs: z.number(),
      powerW: z.number().optional(),
      celsius: z.number().optional(),
      slots: z.array(slotPointSchema),
    }),
  ),
})
export type DeviceSeries = z.infer<typeof deviceSeriesSchema>

/** The latest counters of a device, and the histogram of what its slots did in the last seconds. */
export const deviceTelemetrySchema = z.object({
  device: z.string(),
  bootMs: z.number(),
  /** As the device sent it: cumulative since its boot. */
  counters: z.record(z.string(), z.unknown()),
  window: z
    .object({
      seconds: z.number(),
      powerW: z.number().optional(),
      idleW: z.number().optional(),
      /** Mean power of each source over the window. */
      railsW: z.record(z.string(), z.number()),
      slots: z.array(
        slotPointSchema.extend({
          frames: z.int(),
          dropped: z.int(),
          dynamicJoulesPerFrame: z.number().optional(),
          latencyP50Ms: z.number().optional(),
          agreementPct: z.number().optional(),
          /** Counts by upper bound of the bucket, seconds. */
          latency: z.array(z.object({ upToS: z.number(), count: z.int() })),
        }),
      ),
    })
    .optional(),
})
export type DeviceTelemetry = z.infer<typeof deviceTelemetrySchema>

const cardSchema = z.object({
  alpha255: z.int(),
  bitsPerPixel: z.number(),
  psnrDb: z.number(),
})

/** A family as people look at it: what its shapes cost, how good they are, and where they run. */
export const familyViewSchema = z.object({
  family: z.string(),
  version: z.string(),
  task: z.string(),
  licence: z.string(),
  description: z.string(),
  manifestDigest: z.string(),
  adapters: z.array(z.object({ id: z.string(), tensors: z.int(), bytes: z.number() })),
  variants: z.array(
    z.object({
      id: z.string(),
      /** Of a codec's encoder: a pixel; of a classifier: a picture. */
      macs: z.number(),
      bytes: z.number(),
      /** Of `bytes`, what the first variant does not have. */
      ownBytes: z.number(),
      /** Codecs. */
      card: z.array(cardSchema).optional(),
      /** Classifiers. */
      accuracyPct: z.number().optional(),
      agreementPct: z.number().optional(),
      lineage: z.array(z.object({ pass: z.string(), parameters: z.record(z.string(), z.unknown()) })),
      measured: z.array(z.record(z.string(), z.unknown())),
    }),
  ),
  /** What devices run now, by variant and class. */
  runs: z.array(
    groupSchema.extend({ variant: z.string(), deviceClass: z.string(), latencyP95Ms: z.number().optional() }),
  ),
})
export type FamilyView = z.infer<typeof familyViewSchema>

export const slotWhySchema = z.object({ key: z.string(), why: explanationSchema })
