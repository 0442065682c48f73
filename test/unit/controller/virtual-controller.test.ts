import { join } from 'node:path'
import type { Families } from '@espalier/controller/families'
import { predictNominal } from '@espalier/controller/plan/predict'
import { autoregression, seededRandom } from '@espalier/controller/sim/random'
import { openVirtualController } from '@espalier/controller/sim/virtual-controller'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import { type DeviceId, deviceIdSchema } from '@espalier/shared/ids'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Desired } from '@espalier/shared/messages/controller'
import { expect, onTestFinished, test } from 'vitest'
import { configuration, envelope, makeBirth, makeTelemetry, manifest, temporaryFolder } from './controller-fixtures.ts'

const codec = manifest as CodecManifest
const known = { manifest, manifestDigest: 'a'.repeat(64) }
const families = { get: () => known, version: () => known, list: () => [] } as unknown as Families

/** A device in virtual time: what it runs costs its card times factors that only it knows, and pictures change. */
class VirtualDevice {
  readonly id: DeviceId
  readonly birth
  running: Configuration = { ...configuration, alpha255: 255, frameRate: 1 }
  swaps = 0
  #frames = 0
  #bits = 0
  #joules = 0
  #seconds = 0
  readonly #latency = new Histogram()
  readonly #content: () => number
  readonly #slowdown: number

  constructor(k: number) {
    const random = seededRandom(k)
    this.id = deviceIdSchema.parse(`cam-${k}`)
    this.birth = makeBirth(this.id)
    this.#slowdown = Math.exp(0.3 + 0.1 * random.normal())
    const scene = 0.3 * random.normal()
    const motion = autoregression(random, 0.98, 0.1)
    this.#content = () => Math.exp(scene + motion())
  }

  follow(desired: Desired): void {
    const next = desired.slots[0]!.ladder[0]!.configuration
    if (configurationId(next) !== configurationId(this.running)) this.swaps++
    this.running = next
  }

  /** One second of work; the bits that were sent in it, and all counters since boot. */
  work() {
    const nominal = predictNominal(this.running, this.birth.slots[0]!, codec)
    const bits = nominal.bitsPerFrame * this.#content() * this.running.frameRate
    this.#seconds++
    // Whole frames: counters of them are integers.
    const frames =
      Math.round(this.#seconds * this.running.frameRate) - Math.round((this.#seconds - 1) * this.running.frameRate)
    this.#frames += frames
    this.#bits += bits
    this.#joules += nominal.joulesPerFrame * this.#slowdown * this.running.frameRate
    for (let i = 0; i < frames; i++) this.#latency.record(nominal.latencyS * this.#slowdown)
    const telemetry = makeTelemetry(this.running, {
      frames: 0,
      bits: this.#bits,
      joules: this.#joules + this.#seconds,
      idleJoules: this.#seconds,
      seconds: this.#seconds,
      swaps: this.swaps,
    })
    const [slot] = telemetry.slots
    const counted = { ...slot!, frames: this.#frames, latency: this.#latency.counts() }
    return { bits, telemetry: { ...telemetry, slots: [counted] } }
  }
}

test('the controller of production, in virtual time, keeps an uplink that half of the best would fill', async () => {
  const devices = [1, 2, 3, 4].map((k) => new VirtualDevice(k))
  const controller = openVirtualController({
    path: join(temporaryFolder(), 'c.sqlite'),
    families,
    onDesired: (id, desired) => devices.find((device) => device.id === id)!.follow(desired),
  })
  onTestFinished(() => controller.close())
  const { store, fleet, clock } = controller
  const say = (id: DeviceId, kind: string, body: unknown, seq: number) =>
    controller.hear(id, kind, envelope(body, { boot: `boot-${id}`, seq, mono: clock.monotonicMs() }))
  for (const { id, birth } of devices) {
    say(id, 'state', { state: 'ready' }, 0)
    say(id, 'birth', birth, 1)
  }

  const best = predictNominal(configuration, devices[0]!.birth.slots[0]!, codec)
  const limitBps = 0.5 * devices.length * best.bitsPerFrame * configuration.frameRate
  store.budgets.change('site:local', { rateBps: limitBps }, clock.wallMs())
  const used: number[] = []
  for (let second = 1; second <= 150; second++) {
    controller.pass(1)
    let bits = 0
    for (const device of devices) {
      const worked = device.work()
      bits += worked.bits
      say(device.id, 'telemetry', worked.telemetry, second + 1)
    }
    used.push(bits)
    if (second % 2 === 0) await controller.plan()
  }

  // Means over the ten seconds that a budget is kept over, once everybody was heard for a minute.
  const windows = Array.from(
    { length: 9 },
    (_, k) => used.slice(60 + 10 * k, 70 + 10 * k).reduce((a, b) => a + b, 0) / 10,
  )
  expect(windows.filter((bps) => bps > limitBps)).toEqual([])
  expect(windows.reduce((a, b) => a + b, 0) / windows.length).toBeGreaterThan(0.7 * limitBps)
  // Factors are learned: all slots of the class are as much slower than their cards as they are.
  const prior = fleet.beliefs.priorOf(fleet.get(devices[0]!.id)!, devices[0]!.birth.slots[0]!)
  expect(prior.members).toBe(4)
  // Pictures change all the time: changes of alpha are free, and so is a plan every two seconds.
  for (const { swaps } of devices) expect(swaps).toBeLessThan(75)
})
