import { z } from 'zod'

const id = z.string().min(1).max(200)
const rateBps = z.number().min(0).max(1e15)
const powerW = z.number().min(0).max(1e9)

const optionSchema = z.strictObject({
  id,
  /** What costs a reload to change; options of one model differ only in what is free to change. */
  model: id.optional(),
  rateBps,
  powerW,
  /** Dimensionless, before the device's weight; usually 0 to 1. */
  utility: z.number().min(-1e6).max(1e6),
  /** In the unit of `minQuality`, e.g. dB. */
  quality: z.number().optional(),
  latencyMs: z.number().min(0).optional(),
  frameRate: z.number().positive().optional(),
  memoryBytes: z.number().min(0).optional(),
})

const deviceSchema = z.strictObject({
  id,
  site: id,
  weight: z.number().min(0).max(1e6).default(1),
  /** Floor of `quality`. */
  minQuality: z.number().optional(),
  memoryBytes: z.number().min(0).optional(),
  maxPowerW: powerW.optional(),
  /** Option that runs now. */
  current: id.optional(),
  options: z.array(optionSchema).min(1),
})

/** A fleet in a file: what `espalier plan <file>` solves. */
export const instanceSchema = z.strictObject({
  format: z.literal('espalier-instance/1'),
  fleet: z.strictObject({ powerW: powerW.optional(), carbonGPerH: z.number().min(0).optional() }).default({}),
  /** Uplinks that several sites share. */
  gateways: z.array(z.strictObject({ id, rateBps })).default([]),
  sites: z
    .array(
      z.strictObject({
        id,
        /** Absent: no limit of its own. */
        rateBps: rateBps.optional(),
        gateway: id.optional(),
        carbonGPerKwh: z.number().min(0).max(1e5).default(0),
      }),
    )
    .default([]),
  /** Leases of devices that do not answer: held until they run out. */
  leases: z.array(z.strictObject({ device: id, site: id, rateBps, powerW })).default([]),
  /** What staying is worth, as a share of the weight: for the same model, and for the very same option. */
  stickiness: z
    .strictObject({ model: z.number().min(0).max(1), option: z.number().min(0).max(1) })
    .default({ model: 0, option: 0 }),
  devices: z.array(deviceSchema),
})
export type Instance = z.infer<typeof instanceSchema>
export type InstanceDevice = Instance['devices'][number]
export type InstanceOption = InstanceDevice['options'][number]

/** What names something twice, or something that is not there; undefined if the instance is sound. */
export function findContradiction(instance: Instance): string | undefined {
  const twice = (kind: string, ids: readonly string[]): string | undefined => {
    const seen = new Set<string>()
    for (const each of ids) {
      if (seen.has(each)) return `${kind} "${each}" is there twice, expected each id once`
      seen.add(each)
    }
    return undefined
  }
  const { devices, sites, gateways } = instance
  const missing = sites.find(({ gateway }) => gateway !== undefined && !gateways.some((g) => g.id === gateway))
  return (
    twice(
      'device',
      devices.map((d) => d.id),
    ) ??
    twice(
      'site',
      sites.map((s) => s.id),
    ) ??
    twice(
      'gateway',
      gateways.map((g) => g.id),
    ) ??
    devices
      .map((d) =>
        twice(
          `option of device "${d.id}"`,
          d.options.map((o) => o.id),
        ),
      )
      .find((found) => found !== undefined) ??
    (missing && `site "${missing.id}" is behind gateway "${missing.gateway}", which is not in "gateways"`)
  )
}
