import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { deviceIdSchema, siteIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { publicKeySchema } from '@espalier/shared/signature/signed-document'
import { z } from 'zod'
import { COUNTRIES } from './meter/carbon.ts'
import { plugSchema } from './sensors/plug.ts'

const sourceSchema = z.strictObject({
  /** `camera` is for a browser's agent. */
  kind: z.enum(['images', 'video', 'camera']),
  path: z.string().min(1),
  /** Frames per second. */
  frameRate: z.number().positive().max(240).default(5),
  loop: z.boolean().default(true),
})
export type SourceConfig = z.infer<typeof sourceSchema>

const sinkSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('uplink') }),
  z.strictObject({ kind: z.literal('folder'), path: z.string().min(1), maxFiles: z.int().min(1).default(1000) }),
  z.strictObject({ kind: z.literal('events') }),
  z.strictObject({ kind: z.literal('discard') }),
])
export type SinkConfig = z.infer<typeof sinkSchema>

const slotConfigSchema = z.strictObject({
  slot: slotIdSchema,
  /** Of the family that this slot runs; absent: the agent's. */
  familyDir: z.string().min(1).optional(),
  source: sourceSchema,
  sink: sinkSchema.default({ kind: 'uplink' }),
  weight: z.number().min(0).max(1000).default(1),
  minPsnrDb: z.number().min(0).max(100).optional(),
  minAccuracyPct: z.number().min(0).max(100).optional(),
  /** Seconds between frames that stand alone, at most; 0 makes every frame one. */
  keyFrameEveryS: z.number().min(0).max(3600).default(10),
})
export type SlotConfig = z.infer<typeof slotConfigSchema>

const slotsSchema = z
  .array(slotConfigSchema)
  .min(1)
  .max(16)
  .refine((slots) => new Set(slots.map(({ slot }) => slot)).size === slots.length, 'two slots have the same name')

const powerSchema = z
  .strictObject({
    /** Watts of the whole board with nothing to do. */
    idleW: z.number().positive(),
    /** Watts of the whole board with every core busy. */
    fullW: z.number().positive(),
    /** Relative half-width of the 95 % interval: 0.15 after a calibration against a meter, 0.4 without. */
    uncertainty: z.number().min(0).max(2).default(0.4),
  })
  .refine(({ idleW, fullW }) => fullW >= idleW, 'full-load watts are less than idle watts')

const sensorsSchema = z.strictObject({
  /** Prefix of system paths, for a copied tree. */
  root: z.string().min(1).default('/'),
  /** Power is sampled at most so often each second. */
  sampleHz: z.number().positive().max(1000).default(100),
  /** Share of one core that sampling may cost: it slows down rather than cost more. */
  maxCpuShare: z.number().positive().max(1).default(0.01),
  /** From the sum of a Raspberry Pi 5's regulators to the power of its board; absent: as published. */
  pmic: z.strictObject({ slope: z.number().positive(), offsetW: z.number().min(0) }).optional(),
  /** Smart plug that this device alone hangs on. */
  plug: plugSchema.optional(),
})

const wearSchema = z.strictObject({ maxSwaps: z.int().min(1).default(500) })

const hourSchema = z.number().min(0).max(24)
const fetchHoursSchema = z.strictObject({ from: hourSchema, to: hourSchema })

const carbonSchema = z.union([z.number().min(0).max(5000), z.enum([...COUNTRIES, 'world'])])

interface Setting<Key extends string, Schema extends z.ZodType> {
  readonly key: Key
  readonly schema: Schema
  /** What holds when nobody says otherwise; a function when it follows from other settings. Absent: must be given. */
  readonly fallback?: z.input<Schema> | ((others: Readonly<Record<string, unknown>>) => z.input<Schema>)
  readonly unit: string
  /** `text` is taken as it stands, `json` is parsed, when it comes from the environment or a flag. */
  readonly form: 'text' | 'json'
  /** No flag: the arguments of a process are visible to every user of the machine. */
  readonly isSecret?: boolean
  readonly sentence: string
}

const setting = <Key extends string, Schema extends z.ZodType>(row: Setting<Key, Schema>): Setting<Key, Schema> => row

/** Every setting of the agent: the loader, `--help` and docs/agent.md come from these rows. */
export const SETTINGS = [
  setting({
    key: 'device',
    schema: deviceIdSchema,
    unit: 'id',
    form: 'text',
    sentence: 'Name of this device; also its MQTT user name.',
  }),
  setting({
    key: 'site',
    schema: siteIdSchema,
    fallback: 'local',
    unit: 'id',
    form: 'text',
    sentence: 'Devices of one site share an uplink.',
  }),
  setting({
    key: 'labels',
    schema: z.record(z.string().max(63), z.string().max(255)),
    fallback: {},
    unit: 'name: value',
    form: 'json',
    sentence: 'Free labels for choosing groups of devices.',
  }),
  setting({
    key: 'dataDir',
    schema: z.string().min(1),
    fallback: ({ device }) => join('.espalier', String(device)),
    unit: 'folder',
    form: 'text',
    sentence: 'Keeps what outlives the process: desired state and undelivered events.',
  }),
  setting({
    key: 'mqttUrl',
    schema: z.url({ protocol: /^(mqtts?|wss?|tcp|ssl)$/ }),
    fallback: 'mqtt://127.0.0.1:1883',
    unit: 'URL',
    form: 'text',
    sentence: 'The broker.',
  }),
  setting({
    key: 'mqttVersion',
    schema: z.union([z.literal(4), z.literal(5)]),
    fallback: 4,
    unit: '4 or 5',
    form: 'json',
    sentence: 'MQTT protocol level: 4 is 3.1.1.',
  }),
  setting({
    key: 'mqttPassword',
    schema: z.string().optional(),
    fallback: undefined,
    unit: 'text',
    form: 'text',
    isSecret: true,
    sentence: 'Password of the broker, if it asks for one.',
  }),
  setting({
    key: 'controllerKey',
    schema: publicKeySchema.optional(),
    fallback: undefined,
    unit: 'public key',
    form: 'text',
    sentence: 'Key that capsules must be signed with; without it, that of the first capsule is trusted from then on.',
  }),
  setting({
    key: 'familyKey',
    schema: publicKeySchema.optional(),
    fallback: undefined,
    unit: 'public key',
    form: 'text',
    sentence: 'Key that families must be signed with; without it, unsigned ones are taken too.',
  }),
  setting({
    key: 'monthlyBytes',
    schema: z.int().min(1).optional(),
    fallback: undefined,
    unit: 'bytes',
    form: 'json',
    sentence: 'What the link may carry in a calendar month: near it, telemetry becomes rare.',
  }),
  setting({
    key: 'controllerUrl',
    schema: z.url({ protocol: /^https?$/ }),
    fallback: 'http://127.0.0.1:8080',
    unit: 'URL',
    form: 'text',
    sentence: 'Where the uplink sink sends frames.',
  }),
  setting({
    key: 'familyDir',
    schema: z.string().min(1),
    fallback: join('models', 'kodo'),
    unit: 'folder',
    form: 'text',
    sentence: 'Folder of the model family, where a slot names no other: manifest.json and blobs/.',
  }),
  setting({
    key: 'slots',
    schema: slotsSchema,
    unit: 'list',
    form: 'json',
    sentence:
      'What this device sees and where it sends it: slot, familyDir, source, sink, weight, minPsnrDb, minAccuracyPct, keyFrameEveryS.',
  }),
  setting({
    key: 'power',
    schema: powerSchema.optional(),
    fallback: undefined,
    unit: 'W',
    form: 'json',
    sentence: 'idleW and fullW of the board for the power model; without it, a table by board.',
  }),
  setting({
    key: 'sensors',
    schema: sensorsSchema.prefault({}),
    fallback: {},
    unit: 'object',
    form: 'json',
    sentence:
      'How energy is measured: sampleHz, maxCpuShare, pmic (slope, offsetW), plug (kind, url, topic, channel), root of a copied tree.',
  }),
  setting({
    key: 'carbon',
    schema: carbonSchema,
    fallback: 'world',
    unit: 'g/kWh',
    form: 'json',
    sentence: 'Grams of CO2 equivalent for each kWh, or a country of the table by three letters ("DEU").',
  }),
  setting({
    key: 'qualityEveryFrames',
    schema: z.int().min(1),
    fallback: 25,
    unit: 'frames',
    form: 'json',
    sentence: 'One frame in this many is decoded again, or asked of the first variant, to measure its true quality.',
  }),
  setting({
    key: 'threads',
    schema: z.int().min(1).max(64),
    fallback: 1,
    unit: 'threads',
    form: 'json',
    sentence: 'Threads that the inference runtime of a worker may have; one is tried too.',
  }),
  setting({
    key: 'backends',
    schema: z.array(z.enum(['wasm', 'native', 'webgpu'])).min(1),
    fallback: ['wasm', 'native', 'webgpu'],
    unit: 'list',
    form: 'json',
    sentence: 'What networks may run on; each is tried and timed once, and the fastest that works is taken.',
  }),
  setting({
    key: 'maxWorkerBytes',
    schema: z.int().min(64 * 1024 * 1024),
    fallback: 1024 * 1024 * 1024,
    unit: 'bytes',
    form: 'json',
    sentence: 'Memory that a worker may have: one above it is replaced, and a family that needs more is refused.',
  }),
  setting({
    key: 'wear',
    schema: wearSchema.prefault({}),
    fallback: {},
    unit: 'object',
    form: 'json',
    sentence: 'When a fresh worker takes the place of one: after maxSwaps changes of variant (500).',
  }),
  setting({
    key: 'spoolMaxBytes',
    schema: z.int().min(16 * 1024),
    fallback: 4 * 1024 * 1024,
    unit: 'bytes',
    form: 'json',
    sentence: 'Room on disk for undelivered events and telemetry; the oldest give way.',
  }),
  setting({
    key: 'storeMaxBytes',
    schema: z.int().min(1024 * 1024),
    fallback: 512 * 1024 * 1024,
    unit: 'bytes',
    form: 'json',
    sentence: 'Room on disk for versions of families that were fetched; those not used for longest give way.',
  }),
  setting({
    key: 'isLinkMetered',
    schema: z.boolean(),
    fallback: false,
    unit: 'true or false',
    form: 'json',
    sentence: 'Every byte of the link is paid for: an update that needs more than meteredMaxBytes waits.',
  }),
  setting({
    key: 'meteredMaxBytes',
    schema: z.int().min(0),
    fallback: 1024 * 1024,
    unit: 'bytes',
    form: 'json',
    sentence: 'What one update may need on a metered link.',
  }),
  setting({
    key: 'fetchMonthlyBytes',
    schema: z.int().min(0).optional(),
    fallback: undefined,
    unit: 'bytes',
    form: 'json',
    sentence: 'What updates may fetch in a calendar month; without it, as much as monthlyBytes leaves.',
  }),
  setting({
    key: 'fetchHours',
    schema: fetchHoursSchema.optional(),
    fallback: undefined,
    unit: 'hours',
    form: 'json',
    sentence: 'When updates may be fetched: from and to, hours of the day in UTC, from > to over midnight.',
  }),
  setting({
    key: 'safeAfterStarts',
    schema: z.int().min(2).max(100),
    fallback: 5,
    unit: 'starts',
    form: 'json',
    sentence: 'After so many starts in a row that died within a minute, the version before or the safe variant runs.',
  }),
  setting({
    key: 'logLevel',
    schema: z.enum(['debug', 'info', 'warn', 'error', 'silent']),
    fallback: 'info',
    unit: 'level',
    form: 'text',
    sentence: 'How much goes to standard error.',
  }),
] as const

export type AgentConfig = {
  readonly [Row in (typeof SETTINGS)[number] as Row['key']]: z.output<Row['schema']>
}

type AnySetting = (typeof SETTINGS)[number]

/** @example environmentName('mqttUrl') // 'ESPALIER_MQTT_URL' */
export function environmentName(key: string): string {
  return `ESPALIER_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`
}

/** @example flagName('mqttUrl') // 'mqtt-url' */
export function flagName(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** Where settings come from, later over earlier: `file`, `environment`, `flags`. */
export interface ConfigSources {
  readonly file?: { readonly name: string; readonly settings: Readonly<Record<string, unknown>> } | undefined
  readonly environment?: Readonly<Record<string, string | undefined>>
  /** By flag name without dashes. */
  readonly flags?: Readonly<Record<string, string | undefined>>
}

function fromText(row: AnySetting, text: string, where: string): unknown {
  if (row.form === 'text') return text
  try {
    return JSON.parse(text)
  } catch {
    throw new ConfigError(`Cannot read setting "${row.key}" from ${where}: found "${text}", expected JSON`)
  }
}

function findValue(
  row: AnySetting,
  sources: ConfigSources,
  others: Readonly<Record<string, unknown>>,
): { value: unknown; where: string } {
  const flag = row.isSecret === true ? undefined : sources.flags?.[flagName(row.key)]
  if (flag !== undefined) {
    const where = `flag --${flagName(row.key)}`
    return { value: fromText(row, flag, where), where }
  }
  const variable = sources.environment?.[environmentName(row.key)]
  if (variable !== undefined) {
    const where = `environment ${environmentName(row.key)}`
    return { value: fromText(row, variable, where), where }
  }
  const inFile = sources.file?.settings[row.key]
  if (inFile !== undefined) return { value: inFile, where: `file "${sources.file?.name}"` }
  const fallback: unknown = row.fallback
  return { value: typeof fallback === 'function' ? fallback(others) : fallback, where: 'the default' }
}

/**
 * Find every setting: default < file < environment < flag.
 *
 * @returns Frozen, with every default filled in.
 * @throws {ConfigError} If a setting is missing, unknown or not of its form; names key and source.
 */
export function loadConfig(sources: ConfigSources): AgentConfig {
  const known = new Set<string>(SETTINGS.map(({ key }) => key))
  for (const key of Object.keys(sources.file?.settings ?? {}))
    if (!known.has(key))
      throw new ConfigError(
        `Cannot use setting "${key}" of file "${sources.file?.name}": expected one of ${[...known].join(', ')}`,
      )
  const config: Record<string, unknown> = {}
  for (const row of SETTINGS) {
    const { value, where } = findValue(row, sources, config)
    const parsed = row.schema.safeParse(value)
    if (!parsed.success)
      throw new ConfigError(
        value === undefined
          ? `Cannot find setting "${row.key}" (${row.unit}): set it in the file, as ${environmentName(row.key)} or with --${flagName(row.key)}`
          : `Cannot use setting "${row.key}" from ${where}: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`,
      )
    config[row.key] = parsed.data
  }
  return Object.freeze(config) as AgentConfig
}

/** @throws {ConfigError} If the file is unreadable or no JSON object. */
export function readConfigFile(path: string): NonNullable<ConfigSources['file']> {
  let settings: unknown
  try {
    settings = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new ConfigError(`Cannot read configuration "${path}": ${describeError(cause)}`, { cause })
  }
  const parsed = z.record(z.string(), z.unknown()).safeParse(settings)
  if (!parsed.success) throw new ConfigError(`Cannot read configuration "${path}": expected a JSON object`)
  return { name: path, settings: parsed.data }
}
