import { z } from 'zod'
import { configurationSchema } from '../configuration.ts'
import { deviceIdSchema, digestSchema, siteIdSchema, slotIdSchema } from '../ids.ts'

/** Retained; the will is `lost`. */
export const stateSchema = z.object({
  state: z.enum(['init', 'ready', 'trial', 'degraded', 'sleeping', 'offline', 'lost']),
  reason: z.string().max(500).optional(),
})
export type State = z.infer<typeof stateSchema>

/** Where joules come from: DESIGN 7. */
export const energySourceSchema = z.object({
  /** Sensor or model, e.g. `rapl:package-0` or `model:utilisation`. */
  source: z.string().min(1).max(80),
  rail: z.string().min(1).max(80),
  scope: z.enum(['module', 'board', 'wall', 'modelled']),
  /** `counter`: differences of an energy counter; `integral`: trapezoid over power samples; `model`: computed. */
  method: z.enum(['counter', 'integral', 'model']),
})
export type EnergySource = z.infer<typeof energySourceSchema>

/** Retained: what the device is. Sent once a connection, before anything else but `state`. */
export const birthSchema = z.object({
  device: deviceIdSchema,
  site: siteIdSchema,
  /** Devices of one class share cards, e.g. `linux-x64-2core`. */
  deviceClass: z.string().min(1).max(80),
  labels: z.record(z.string().max(63), z.string().max(255)),
  software: z.string().max(80),
  board: z.object({
    model: z.string().max(200),
    arch: z.string().max(20),
    cores: z.int().min(1),
    memoryBytes: z.number().min(0),
  }),
  energy: z.array(energySourceSchema).max(32),
  /** Sensors that are there and do not count, and why. */
  sensorsRefused: z
    .array(z.object({ name: z.string().max(80), why: z.string().max(20), reason: z.string().max(300) }))
    .max(32)
    .optional(),
  slots: z
    .array(
      z.object({
        slot: slotIdSchema,
        family: z.string(),
        manifestDigest: digestSchema,
        source: z.object({
          kind: z.string().max(30),
          width: z.int().positive(),
          height: z.int().positive(),
          frameRate: z.number().positive(),
        }),
        /** What this device can run the family on, fastest first. */
        backends: z
          .array(
            z.object({
              backend: z.enum(['wasm', 'webgpu', 'native']),
              threads: z.int().min(1),
              /** Multiply-accumulates a second of the family's first variant, all threads together; absent: not measured. */
              macsPerSecond: z.number().positive().optional(),
            }),
          )
          .min(1)
          .max(16),
        /** Backends that are there and cannot be used, and why. */
        backendsRefused: z
          .array(
            z.object({
              backend: z.enum(['wasm', 'webgpu', 'native']),
              threads: z.int().min(1),
              reason: z.string().max(300),
            }),
          )
          .max(16)
          .optional(),
        /** Multiply-accumulates a second of one thread in WebAssembly: how fast this device is at all that is no network. */
        macsPerSecond: z.number().positive(),
        /** RAM that a worker may have: variants that need more are refused. */
        maxWorkerBytes: z.number().positive().optional(),
        /** Relative importance in the plan. */
        weight: z.number().min(0).max(1000),
        /** Never plan a configuration with a lower card quality. */
        minPsnrDb: z.number().min(0).max(100).optional(),
        /** The same of a classifier: never a variant that is right less often on the family's pictures. */
        minAccuracyPct: z.number().min(0).max(100).optional(),
      }),
    )
    .min(1)
    .max(16),
})
export type Birth = z.infer<typeof birthSchema>

/** Where a slot is on its way to another version of its family: DESIGN 9. */
export const updateSchema = z.object({
  state: z.enum(['fetch', 'verify', 'warm', 'trial', 'committed', 'rolled-back', 'safe']),
  /** The version that it goes, or did not get, to. */
  manifestDigest: digestSchema,
  /** Counts up with each time that this version was tried. */
  attempt: z.int().min(1),
  /** Bytes that this version needs and the device did not have, and what of them is here. */
  neededBytes: z.number().min(0),
  fetchedBytes: z.number().min(0),
  /** Why it waits, was rolled back, or is in safe mode. */
  reason: z.string().max(500).optional(),
  /** What was measured in the trial, against what was expected. */
  evidence: z.record(z.string(), z.unknown()).optional(),
})
export type Update = z.infer<typeof updateSchema>

/** Retained: what runs now, against which generation. */
export const reportedSchema = z.object({
  /** Generation of the desired state this answers; 0 before any. */
  gen: z.int().min(0),
  slots: z.array(
    z.object({
      slot: slotIdSchema,
      configuration: configurationSchema,
      /** `applied`: as desired; `braked`: a lower rung than desired to keep the lease; `refused`: see reason. */
      phase: z.enum(['starting', 'applied', 'braked', 'refused', 'failed']),
      reason: z.string().max(500).optional(),
      /** The version of the family that runs; absent: that of birth. */
      manifestDigest: digestSchema.optional(),
      /** The last update that was begun. */
      update: updateSchema.optional(),
      /** No frames until `resume`. */
      isPaused: z.boolean().optional(),
    }),
  ),
})
export type Reported = z.infer<typeof reportedSchema>

const countsSchema = z.record(z.string().regex(/^-?[0-9]{1,3}$/), z.int().min(0))

/** Everything counts up since boot: a lost message costs resolution, not energy. SI units. */
export const telemetrySchema = z.object({
  /** Energy of the whole device by source. */
  energy: z.array(
    energySourceSchema.extend({
      joules: z.number().min(0),
      /** Of `joules`, what an idle device would have used as well. */
      idleJoules: z.number().min(0),
      /** Relative half-width of the 95 % interval. */
      uncertainty: z.number().min(0),
      /** Share of the time since boot that was covered by readings, 0..1. */
      coverage: z.number().min(0).max(1),
      /** Mean readings a second. */
      rateHz: z.number().min(0),
      /** Of `uncertainty`, what sampling leaves unknown: half-width in joules. */
      samplingJ: z.number().min(0).optional(),
      /** Readings that failed. */
      failures: z.int().min(0).optional(),
      /** Share of one core that looking at the sensor costs now. */
      costShare: z.number().min(0).optional(),
    }),
  ),
  /** What the device draws with nothing to do, as measured by `source`, and how long ago. */
  idle: z
    .object({
      source: z.string().max(80),
      watts: z.number(),
      halfWidthW: z.number().min(0),
      ageS: z.number().min(0),
    })
    .optional(),
  /** What joules and latencies must be read with. */
  machine: z
    .object({
      /** By thermal zone; one that cannot be read is absent. */
      celsius: z.record(z.string().max(40), z.number()),
      /** By group of cores, and `gpu`. */
      clocksMhz: z.record(z.string().max(40), z.number().min(0)),
      throttledNow: z.array(z.string().max(40)).max(16),
      throttledPast: z.array(z.string().max(40)).max(16),
      /** Over-current events since the machine started. */
      throttleEvents: z.record(z.string().max(40), z.number().min(0)),
      /** As the power manager names it: it caps clocks, not watts. */
      powerMode: z.string().max(40).optional(),
    })
    .optional(),
  /** Grams of CO2 equivalent of all joules, and at which intensity. */
  carbon: z
    .object({
      grams: z.number().min(0),
      gramsPerKwh: z.number().min(0),
      source: z.string().max(80),
      year: z.int().optional(),
    })
    .optional(),
  slots: z.array(
    z.object({
      slot: slotIdSchema,
      /** The configuration id that runs at the moment of sending. */
      configuration: z.string().max(200),
      frames: z.int().min(0),
      /** Frames that arrived and were skipped because the slot was slower than its source. */
      dropped: z.int().min(0),
      /** Frames that were done but did not reach the sink. */
      unsent: z.int().min(0),
      /** Frames later than the configuration's frame interval. */
      late: z.int().min(0),
      swaps: z.int().min(0),
      bits: z.number().min(0),
      /** Joules attributed to this slot: total includes its share of idle. */
      joules: z.number().min(0),
      idleJoules: z.number().min(0),
      /** Seconds from a frame's arrival to its result being handed to the sink. */
      latency: countsSchema,
      /** Sum and count of true PSNR samples of decoded frames against their source. */
      psnrSum: z.number().min(0),
      psnrCount: z.int().min(0),
      /** Of a classifier: frames that were asked of the first variant too, and those on which both said the same. */
      agreements: z.int().min(0).optional(),
      comparisons: z.int().min(0).optional(),
    }),
  ),
  /** Bytes on the wire that this agent sent and received: MQTT and uplink. */
  link: z
    .object({
      txBytes: z.number().min(0),
      rxBytes: z.number().min(0),
      /** Both ways in this calendar month (UTC), over all starts; and what it may be, where there is a cap. */
      monthBytes: z.number().min(0),
      capBytes: z.number().min(0).optional(),
      /** Of `monthBytes`, what fetching versions of families took. */
      monthFetchBytes: z.number().min(0).optional(),
    })
    .optional(),
  self: z.object({
    rssBytes: z.number().min(0),
    cpuSeconds: z.number().min(0),
    /** Joules of the agent beside its slots (control, sampling, quality checks). */
    joules: z.number().min(0),
    /** The same in this calendar month, over all starts. */
    monthJoules: z.number().min(0).optional(),
    spoolBytes: z.number().min(0),
    spoolDropped: z.int().min(0),
    workerRestarts: z.int().min(0),
    /** Bytes that the control process had written to storage since its start, as the system counts them. */
    flashBytes: z.number().min(0).optional(),
  }),
})
export type Telemetry = z.infer<typeof telemetrySchema>

/** Something happened; kept in the spool until delivered. */
export const eventSchema = z.object({
  kind: z.string().regex(/^[a-z][a-z0-9-]{0,40}$/),
  slot: slotIdSchema.optional(),
  message: z.string().max(1000),
  evidence: z.record(z.string(), z.unknown()).optional(),
})
export type DeviceEvent = z.infer<typeof eventSchema>

export const ackSchema = z.object({
  result: z.enum(['accepted', 'rejected', 'done']),
  reason: z.string().max(500).optional(),
})
export type Ack = z.infer<typeof ackSchema>
