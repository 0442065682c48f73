import { timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:net'
import type { Duplex } from 'node:stream'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { deviceIdSchema } from '@espalier/shared/ids'
import { MAX_MESSAGE_BYTES } from '@espalier/shared/messages/envelope'
import { CONTROLLER_STATE_TOPIC, TOPIC_ROOT } from '@espalier/shared/messages/topics'
import { Aedes, type AuthenticateError, type Client } from 'aedes'
import type { Passwords } from './passwords.ts'

/** The controller's own user name on its broker; no device id starts with `_`. */
export const CONTROLLER_USER = '_controller'

const NOT_AUTHORISED = 5

export interface EmbeddedBroker {
  readonly port: number
  /** Speak MQTT over a connection that came in another way, e.g. a WebSocket; the same rules hold. */
  accept(connection: Duplex): void
  /** Take nothing from devices any more: what is not acknowledged they say again later. */
  mute(): void
  close(): Promise<void>
}

type Done = (error?: Error | null) => void

/** Lets callers through while it is open, keeps them waiting while it is shut, and turns them away once it has ended. */
class Gate {
  #state: 'open' | 'shut' | 'ended' = 'shut'
  readonly #waiting: Done[] = []

  pass(done: Done): void {
    if (this.#state === 'shut') this.#waiting.push(done)
    else done(this.#state === 'open' ? null : new Error('the controller is stopping'))
  }

  open(): void {
    if (this.#state === 'ended') return
    this.#state = 'open'
    for (const done of this.#waiting.splice(0)) done(null)
  }

  shut(): void {
    if (this.#state === 'open') this.#state = 'shut'
  }

  end(): void {
    this.#state = 'ended'
    for (const done of this.#waiting.splice(0)) done(new Error('the controller is stopping'))
  }
}

function equal(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)]
  return x.length === y.length && timingSafeEqual(x, y)
}

function refusal(reason: string): AuthenticateError {
  return Object.assign(new Error(reason), { returnCode: NOT_AUTHORISED }) as AuthenticateError
}

/**
 * A broker (MQTT 3.1.1) in this process. A device's id is its user name: it may publish below its own `up` and
 * subscribe below its own `down` and to the controller's state, and so may its will. What a device says is acknowledged only
 * while the controller listens: acknowledged to nobody, it would be lost.
 *
 * @param options.passwords Absent: any device id is believed, which only loopback may.
 * @throws {ConfigError} If the address cannot be listened on.
 */
export async function startBroker(options: {
  host: string
  port: number
  controllerPassword: string
  passwords: Passwords | undefined
}): Promise<EmbeddedBroker> {
  const users = new WeakMap<Client, string>()
  const listening = new Gate()
  const broker = await Aedes.createBroker({
    authenticate(client, name, password, done) {
      const secret = password?.toString() ?? ''
      const isController = name === CONTROLLER_USER && equal(secret, options.controllerPassword)
      const isDevice = deviceIdSchema.safeParse(name).success && (options.passwords?.matches(name!, secret) ?? true)
      if (!isController && !isDevice) return done(refusal('unknown user name or wrong password'), false)
      users.set(client, name!)
      done(null, true)
    },
    authorizePublish(client, packet, done) {
      const user = client === null ? CONTROLLER_USER : users.get(client)
      const isAllowed =
        user === CONTROLLER_USER || (user !== undefined && packet.topic.startsWith(`${TOPIC_ROOT}/${user}/up/`))
      const bytes = packet.payload.length
      if (!isAllowed) done(new Error(`"${user}" may not publish to "${packet.topic}"`))
      else if (bytes > MAX_MESSAGE_BYTES) done(new Error(`"${user}" published ${bytes} bytes`))
      else if (user === CONTROLLER_USER) done()
      else listening.pass(done)
    },
    authorizeSubscribe(client, subscription, done) {
      const user = users.get(client)
      const { topic } = subscription
      const isAllowed =
        user === CONTROLLER_USER ||
        topic === CONTROLLER_STATE_TOPIC ||
        (user !== undefined && topic.startsWith(`${TOPIC_ROOT}/${user}/down/`))
      // A null subscription is answered with the failure code and leaves the connection open.
      done(null, isAllowed ? subscription : null)
    },
  })
  broker.on('subscribe', (_, client) => {
    if (users.get(client) === CONTROLLER_USER) listening.open()
  })
  broker.on('clientDisconnect', (client) => {
    if (users.get(client) === CONTROLLER_USER) listening.shut()
  })
  const connections = new Set<Duplex>()
  const accept = (connection: Duplex): void => {
    connections.add(connection)
    connection.once('close', () => connections.delete(connection))
    broker.handle(connection)
  }
  const server = createServer(accept)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port, options.host, resolve)
  }).catch((cause: unknown) => {
    throw new ConfigError(
      `Cannot listen for MQTT on "${options.host}:${options.port}": ${describeError(cause)}; set "mqttPort"`,
      { cause },
    )
  })
  return {
    port: (server.address() as { port: number }).port,
    accept,
    mute: () => listening.end(),
    async close() {
      listening.end()
      const closed = new Promise((resolve) => server.close(resolve))
      await new Promise<void>((resolve) => broker.close(resolve))
      for (const connection of connections) connection.destroy()
      await closed
    },
  }
}
