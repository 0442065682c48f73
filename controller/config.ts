import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { publicKeySchema } from '@espalier/shared/signature/signed-document'
import { z } from 'zod'

interface Setting<Value> {
  readonly type: z.ZodType<Value>
  readonly default: Value
  readonly unit?: string
  readonly environment: string
  readonly sentence: string
  /** Never said in an error or a log. */
  readonly isSecret?: true
}

const setting = <Value>(s: Setting<Value>): Setting<Value> => s
const port = z.coerce.number().int().min(0).max(65535)
const text = z.string().min(1)
/** Built beside this package; this file runs from its folder and from `dist/`. */
const AGENT_PAGE = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../agent/dist/page' : '../../agent/dist/page', import.meta.url),
)

/** Every setting of the controller. The loader, `--help` and docs/controller.md follow this table. */
export const settings = {
  host: setting({
    type: text,
    default: '127.0.0.1',
    environment: 'ESPALIER_HOST',
    sentence: 'Address that the API, the page and the uplink listen on.',
  }),
  port: setting({
    type: port,
    default: 8080,
    environment: 'ESPALIER_PORT',
    sentence: 'HTTP port; 0 takes any free one.',
  }),
  tlsCertFile: setting({
    type: text.optional(),
    default: undefined,
    environment: 'ESPALIER_TLS_CERT_FILE',
    sentence: 'Certificate chain (PEM): API, page and uplink are then https, which browsers elsewhere need.',
  }),
  tlsKeyFile: setting({
    type: text.optional(),
    default: undefined,
    environment: 'ESPALIER_TLS_KEY_FILE',
    sentence: 'Private key (PEM) of the certificate.',
  }),
  mqttHost: setting({
    type: text,
    default: '127.0.0.1',
    environment: 'ESPALIER_MQTT_HOST',
    sentence: 'Address that the embedded broker listens on.',
  }),
  mqttPort: setting({
    type: port,
    default: 1883,
    environment: 'ESPALIER_MQTT_PORT',
    sentence: 'Port of the embedded broker; 0 takes any free one.',
  }),
  brokerUrl: setting({
    type: text.optional(),
    default: undefined,
    environment: 'ESPALIER_BROKER_URL',
    sentence: 'Another MQTT broker, e.g. mqtt://user:password@broker:1883; then none is embedded.',
  }),
  brokerWebSocketUrl: setting({
    type: z.url({ protocol: /^wss?$/ }).optional(),
    default: undefined,
    environment: 'ESPALIER_BROKER_WEB_SOCKET_URL',
    sentence:
      'Where agents in browsers reach another broker, e.g. wss://broker:8084/mqtt; absent: at /mqtt of this one.',
  }),
  agentPageDir: setting({
    type: text,
    default: AGENT_PAGE,
    environment: 'ESPALIER_AGENT_PAGE_DIR',
    sentence: 'Folder of the built page that makes a browser an agent.',
  }),
  dataDir: setting({
    type: text,
    default: '.espalier/controller',
    environment: 'ESPALIER_DATA_DIR',
    sentence: 'Folder of the database and of the key that signs capsules.',
  }),
  familiesDir: setting({
    type: text,
    default: 'models',
    environment: 'ESPALIER_FAMILIES_DIR',
    sentence: 'Folder with one folder for each family.',
  }),
  devicePasswordsFile: setting({
    type: text.optional(),
    default: undefined,
    environment: 'ESPALIER_DEVICE_PASSWORDS_FILE',
    sentence: 'Lines of "name:sha256 of the password"; the name "_operator" may use the API.',
  }),
  capsuleS: setting({
    type: z.coerce
      .number()
      .min(60)
      .max(7 * 86_400),
    default: 3600,
    unit: 's',
    environment: 'ESPALIER_CAPSULE_S',
    sentence: 'How long a device that hears nothing may use its lease; budgets hold it for as long.',
  }),
  familyKey: setting({
    type: publicKeySchema.optional(),
    default: undefined,
    environment: 'ESPALIER_FAMILY_KEY',
    sentence: 'Public key that families must be signed with; absent: unsigned ones are taken too.',
  }),
  planIntervalMs: setting({
    type: z.coerce.number().int().min(50).max(600_000),
    default: 2000,
    unit: 'ms',
    environment: 'ESPALIER_PLAN_INTERVAL_MS',
    sentence: 'Longest time between two plans.',
  }),
  webhookSecret: setting({
    type: z.string().min(16).optional(),
    default: undefined,
    environment: 'ESPALIER_WEBHOOK_SECRET',
    sentence: 'Key that webhooks of alerts are signed with; absent: no rule may have one.',
    isSecret: true,
  }),
  webhookAllow: setting({
    type: z.string(),
    default: '',
    environment: 'ESPALIER_WEBHOOK_ALLOW',
    sentence: 'Hosts, separated by commas, that webhooks reach although their address is not public, or without TLS.',
  }),
  smtpUrl: setting({
    type: z.url({ protocol: /^smtps?$/ }).optional(),
    default: undefined,
    environment: 'ESPALIER_SMTP_URL',
    sentence: 'Server for e-mail of alerts, e.g. smtps://name:password@mail.example.org; absent: no rule may have one.',
    isSecret: true,
  }),
  mailFrom: setting({
    type: z
      .string()
      .regex(/^[^\s@]+@[^\s@]+$/, 'expected an address')
      .optional(),
    default: undefined,
    environment: 'ESPALIER_MAIL_FROM',
    sentence: 'Sender of e-mail.',
  }),
} as const

export type ControllerConfig = {
  readonly [K in keyof typeof settings]: z.output<(typeof settings)[K]['type']>
}

/** Settings as they come from a file or from flags: unchecked. */
export type RawSettings = Readonly<Record<string, unknown>>

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.[0-9]{1,3}){3}$/.test(host)
}

function readSettings(path: string): RawSettings {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    throw new ConfigError(`Cannot read configuration "${path}": ${describeError(cause)}, expected a JSON object`, {
      cause,
    })
  }
}

/**
 * Default < file < environment < flag.
 *
 * @throws {ConfigError} If a key is unknown, a value is not of its type, or the network would be open to all.
 */
export function loadConfig(from: {
  readonly file?: string
  readonly environment?: Readonly<Record<string, string | undefined>>
  readonly flags?: RawSettings
}): ControllerConfig {
  const file = from.file === undefined ? {} : readSettings(from.file)
  const flags = from.flags ?? {}
  for (const [source, raw] of [
    [`file "${from.file}"`, file],
    ['flags', flags],
  ] as const)
    for (const key of Object.keys(raw))
      if (!Object.hasOwn(settings, key))
        throw new ConfigError(`Cannot use setting "${key}" of ${source}: expected one of ${Object.keys(settings)}`)

  const values = Object.entries<Setting<unknown>>(settings).map(
    ([key, { type, default: fallback, environment, isSecret }]) => {
      const found = flags[key] ?? from.environment?.[environment] ?? file[key] ?? fallback
      const parsed = type.safeParse(found)
      if (!parsed.success)
        throw new ConfigError(
          `Cannot use setting "${key}" (${environment}): found ${isSecret ? 'a secret' : JSON.stringify(found)}, ${z.prettifyError(parsed.error)}, e.g. ${JSON.stringify(fallback ?? 'text')}`,
        )
      return [key, parsed.data] as const
    },
  )
  return checkConfig(Object.fromEntries(values) as ControllerConfig)
}

/** @throws {ConfigError} If the controller would listen beyond this machine without knowing who may speak. */
export function checkConfig(config: ControllerConfig): ControllerConfig {
  if ((config.tlsCertFile === undefined) !== (config.tlsKeyFile === undefined))
    throw new ConfigError(
      `Cannot serve https: found "${config.tlsCertFile === undefined ? 'tlsKeyFile' : 'tlsCertFile'}" alone, expected both "tlsCertFile" and "tlsKeyFile"`,
    )
  const hosts = [config.host, ...(config.brokerUrl === undefined ? [config.mqttHost] : [])]
  const open = hosts.find((host) => !isLoopback(host))
  if (open !== undefined && config.devicePasswordsFile === undefined)
    throw new ConfigError(
      `Cannot listen on "${open}": found no "devicePasswordsFile", expected one for any address but loopback, e.g. "passwords.txt" with lines of name:sha256`,
    )
  return Object.freeze({ ...config })
}
