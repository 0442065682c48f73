import { join } from 'node:path'
import { predictNominal } from '@espalier/controller/plan/predict'
import type { Configuration } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import type { DeviceId, Digest } from '@espalier/shared/ids'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import { openCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { type Command, commandSchema, type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import type { Birth, Update } from '@espalier/shared/messages/device'
import { formatMessage, parseMessage } from '@espalier/shared/messages/envelope'
import { connectAsync, type MqttClient } from 'mqtt'
import { onTestFinished } from 'vitest'
import { envelope, makeBirth, makeTelemetry, SLOT } from '../unit/controller/controller-fixtures.ts'

const KODO = join(import.meta.dirname, '../../models/kodo')

/** A device over MQTT that changes versions as it is told, with costs that a test sets. */
export class FakeDevice {
  readonly id: DeviceId
  readonly client: MqttClient
  readonly desired: Desired[] = []
  readonly commands: Command[] = []
  version: Digest
  update: Update | undefined
  /** What becomes of an update. */
  fate: 'commit' | 'roll-back' = 'commit'
  /** What frames cost, over what the cards say; a plan that gives it another configuration changes the cost with it. */
  readonly manifest: CodecManifest
  latencyFactor = 1
  #configuration: Configuration | undefined
  #seq = 0
  #frames = 0
  #seconds = 0
  #bits = 0
  #joules = 0
  readonly #latency = new Histogram()
  #swaps = 0
  #turn = Promise.resolve()

  private constructor(id: DeviceId, version: Digest, client: MqttClient, manifest: CodecManifest) {
    this.id = id
    this.manifest = manifest
    this.version = version
    this.client = client
    client.on('message', (topic, payload) => {
      if (topic.includes('/command/')) this.commands.push(parseMessage(payload, 'command', commandSchema).body)
      if (!topic.endsWith('/desired')) return
      const { body } = parseMessage(payload, 'desired', desiredSchema)
      this.desired.push(body)
      this.#turn = this.#turn.then(() => this.#follow(body))
    })
  }

  static async connect(mqttPort: number, id: string, version: Digest, birth: Partial<Birth> = {}): Promise<FakeDevice> {
    const client = await connectAsync(`mqtt://127.0.0.1:${mqttPort}`, { username: id, password: 'any' })
    onTestFinished(() => client.endAsync(true))
    const { manifest } = await openCodecFamily(KODO)
    const device = new FakeDevice(id as DeviceId, version, client, manifest)
    await client.subscribeAsync(`espalier/v1/${id}/down/#`, { qos: 1 })
    await device.say('state', { state: 'ready' })
    await device.say('birth', { ...makeBirth(device.id, { family: 'kodo', manifestDigest: version }), ...birth })
    return device
  }

  async say(kind: string, body: unknown): Promise<void> {
    const payload = Buffer.from(formatMessage(envelope(body, { seq: this.#seq++, mono: this.#seconds * 1000 })))
    await this.client.publishAsync(`espalier/v1/${this.id}/up/${kind}`, payload, { qos: 1 })
  }

  async #report(gen: number): Promise<void> {
    const slot = {
      slot: SLOT,
      configuration: this.#configuration,
      phase: 'applied',
      manifestDigest: this.version,
      ...(this.update === undefined ? {} : { update: this.update }),
    }
    await this.say('reported', { gen, slots: [slot] })
  }

  async #follow({ gen, slots }: Desired): Promise<void> {
    const { ladder, family } = slots[0]!
    this.#configuration = ladder[0]!.configuration
    this.#swaps++
    const order = family?.manifestDigest
    if (order !== undefined && order !== this.version && this.update?.manifestDigest !== order) {
      const known = { manifestDigest: order, attempt: 1, neededBytes: 10, fetchedBytes: 10 }
      for (const state of ['fetch', 'verify', 'warm', 'trial'] as const) {
        this.update = { state, ...known }
        await this.#report(gen)
      }
      if (this.fate === 'commit') {
        this.version = order
        this.update = { state: 'committed', ...known }
      } else this.update = { state: 'rolled-back', ...known, reason: 'golden output differs' }
    }
    await this.#report(gen)
  }

  /** So many seconds of frames, in as many messages. */
  async run(seconds: number, joulesPerFrame?: number): Promise<void> {
    await this.#turn
    const [born] = makeBirth(this.id).slots
    for (let second = 0; second < seconds; second++) {
      const configuration = this.#configuration!
      const nominal = predictNominal(configuration, born!, this.manifest)
      const frames = Math.round(configuration.frameRate)
      const latencyS = this.latencyFactor * nominal.latencyS
      this.#seconds++
      this.#frames += frames
      this.#bits += frames * nominal.bitsPerFrame
      this.#joules += frames * (joulesPerFrame ?? nominal.joulesPerFrame) + 1
      for (let i = 0; i < frames; i++) this.#latency.record(latencyS)
      const counted = { frames: this.#frames, bits: this.#bits, joules: this.#joules, idleJoules: this.#seconds }
      const telemetry = makeTelemetry(configuration, { ...counted, seconds: this.#seconds, swaps: this.#swaps })
      telemetry.slots[0]!.latency = this.#latency.counts()
      await this.say('telemetry', telemetry)
    }
  }
}
