import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { EventBus } from '@espalier/controller/events'
import type { Families } from '@espalier/controller/families'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { createIngest } from '@espalier/controller/ingest/ingest'
import { predictNominal } from '@espalier/controller/plan/predict'
import { createPlanner } from '@espalier/controller/planner/planner'
import { autoregression, seededRandom } from '@espalier/controller/sim/random'
import { openStore } from '@espalier/controller/store/open-store'
import { Streams } from '@espalier/controller/uplink/streams'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import { type DeviceId, deviceIdSchema } from '@espalier/shared/ids'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Desired } from '@espalier/shared/messages/controller'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { configuration, envelope, makeBirth, makeTelemetry, manifest, temporaryFolder } from './controller-fixtures.ts'

const codec = manifest as CodecManifest
const families = {
  get: () => ({ manifest, manifestDigest: 'a'.repeat(64) }),
  version: () => undefined,
  list: () => [],
} as unknown as Families

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
  const store = openStore(join(temporaryFolder(), 'c.sqlite'))
  onTestFinished(() => store.close())
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs, wallMs: () => 1.7e12 + nowMs }
  const log = pino({ level: 'silent' })
  const fleet = Fleet.load(store)
  const [events, streams] = [new EventBus(), new Streams(clock)]
  const devices = [1, 2, 3, 4].map((k) => new VirtualDevice(k))
  const planner = createPlanner({
    store,
    fleet,
    families,
    streams,
    events,
    clock,
    log,
    link: () => ({
      isConnected: () => true,
      publishCapsule: () => Promise.resolve(),
      publishDesired(id: DeviceId, desired: Desired) {
        devices.find((device) => device.id === id)!.follow(desired)
        return Promise.resolve()
      },
    }),
    // Plans are asked for below: the timer of real time never fires.
    intervalMs: 2 ** 31 - 1,
    capsuleS: 3600,
    signCapsule: (capsule) => capsule as never,
  })
  onTestFinished(() => planner.close())
  const ignore = (): void => undefined
  const ingest = createIngest({
    store,
    fleet,
    families,
    events,
    clock,
    log,
    onChange: ignore,
    onBirth: ignore,
    onUnknown: ignore,
  })
  const say = (id: DeviceId, kind: string, body: unknown, seq: number) =>
    ingest.receive(
      `espalier/v1/${id}/up/${kind}`,
      formatMessage(envelope(body, { boot: `boot-${id}`, seq, mono: nowMs })),
    )
  for (const { id, birth } of devices) {
    say(id, 'state', { state: 'ready' }, 0)
    say(id, 'birth', birth, 1)
  }

  const best = predictNominal(configuration, devices[0]!.birth.slots[0]!, codec)
  const limitBps = 0.5 * devices.length * best.bitsPerFrame * configuration.frameRate
  store.budgets.change('site:local', { rateBps: limitBps }, clock.wallMs())
  const used: number[] = []
  for (let second = 1; second <= 150; second++) {
    nowMs += 1000
    let bits = 0
    for (const device of devices) {
      const worked = device.work()
      bits += worked.bits
      say(device.id, 'telemetry', worked.telemetry, second + 1)
    }
    used.push(bits)
    if (second % 2 === 0) {
      planner.request('time has passed')
      await turn()
      await turn()
    }
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
