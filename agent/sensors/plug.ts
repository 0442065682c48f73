import { randomBytes } from 'node:crypto'
import { describeError, StoreError } from '@espalier/shared/errors'
import { connectAsync, type MqttClient } from 'mqtt'
import { z } from 'zod'
import { PLUG_KINDS, type PlugReading, parsePlug } from './plug-reading.ts'

export const plugSchema = z.strictObject({
  kind: z.enum(PLUG_KINDS),
  /** Of the plug (http) or of the broker it talks to (mqtt). */
  url: z.url({ protocol: /^(https?|mqtts?)$/ }),
  /** MQTT: the plug's topic prefix. */
  topic: z.string().min(1).max(200).optional(),
  /** Of a plug with several sockets. */
  channel: z.int().min(0).max(7).default(0),
})
export type PlugSettings = z.output<typeof plugSchema>

/** A meter at the wall that this device hangs on. */
export interface Plug {
  readonly settings: PlugSettings
  /** @throws {StoreError} If it does not answer, or with something else. */
  read(): Promise<PlugReading>
  close(): Promise<void>
}

const TIMEOUT_MS = 2000

function lost({ url }: PlugSettings, cause: unknown): StoreError {
  if (cause instanceof StoreError) return cause
  return new StoreError(`Cannot read plug "${url}": ${describeError(cause)}`, { cause, retryable: true })
}

function openHttpPlug(settings: PlugSettings): Plug {
  const { kind, url, channel } = settings
  const path = kind === 'shelly' ? `/rpc/Switch.GetStatus?id=${channel}` : '/cm?cmnd=Status%2010'
  return {
    settings,
    async read() {
      try {
        const response = await fetch(new URL(path, url), { signal: AbortSignal.timeout(TIMEOUT_MS) })
        const text = await response.text()
        if (!response.ok) throw new Error(`found status ${response.status}, expected 200`)
        return parsePlug(kind, text, channel)
      } catch (error) {
        throw lost(settings, error)
      }
    },
    close: async () => undefined,
  }
}

/** Asks each time: what plugs send by themselves comes every minute or five. */
function openMqttPlug(settings: PlugSettings): Plug {
  const { kind, url, topic = kind, channel } = settings
  const caller = `espalier-${randomBytes(4).toString('hex')}`
  const call = { id: 1, src: caller, method: 'Switch.GetStatus', params: { id: channel } }
  const [ask, question, answer] =
    kind === 'shelly'
      ? [`${topic}/rpc`, JSON.stringify(call), `${caller}/rpc`]
      : [`cmnd/${topic}/Status`, '10', `stat/${topic}/STATUS10`]
  let client: MqttClient | undefined
  const open = async (): Promise<MqttClient> => {
    const opened = await connectAsync(url, { clientId: caller, connectTimeout: TIMEOUT_MS, reconnectPeriod: 0 }, false)
    // Whoever reads next finds it closed and opens another.
    opened.on('error', () => undefined)
    await opened.subscribeAsync(answer)
    return opened
  }
  return {
    settings,
    async read() {
      try {
        if (client?.connected !== true) {
          client?.end(true)
          client = await open()
        }
        const asked = client
        const text = await new Promise<string>((resolve, reject) => {
          const timer = setTimeout(() => {
            asked.removeListener('message', onMessage)
            reject(new Error(`found no answer on "${answer}" in ${TIMEOUT_MS} ms`))
          }, TIMEOUT_MS)
          const onMessage = (_topic: string, payload: Buffer): void => {
            clearTimeout(timer)
            asked.removeListener('message', onMessage)
            resolve(payload.toString())
          }
          asked.on('message', onMessage)
          asked.publish(ask, question)
        })
        return parsePlug(kind, text, channel)
      } catch (error) {
        throw lost(settings, error)
      }
    },
    async close() {
      await client?.endAsync(true)
    },
  }
}

export function openPlug(settings: PlugSettings): Plug {
  return settings.url.startsWith('http') ? openHttpPlug(settings) : openMqttPlug(settings)
}
