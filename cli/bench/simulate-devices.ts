import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import { type Digest, deviceIdSchema, siteIdSchema, slotIdSchema } from '@espalier/shared/ids'
import type { Birth, Reported, State, Telemetry } from '@espalier/shared/messages/device'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { upTopic } from '@espalier/shared/messages/topics'
import { seededRandom } from './seeded-random.ts'

export interface SimulatedDevices {
  readonly devices: number
  readonly sites: number
  readonly family: string
  readonly manifestDigest: Digest
  readonly variants: readonly string[]
  /** One device of so many tells what its frames cost; the others only that they are there and what they run. */
  readonly measuredEvery: number
}

/** Where messages of devices go, as if they had come over MQTT. */
export type Receive = (topic: string, payload: Uint8Array) => void

const SLOT = slotIdSchema.parse('cam0')
const CLASSES = ['pi5-4core', 'pi4-4core', 'orin-nano', 'orin-agx', 'linux-x64-2core'] as const
const ROOMS = ['hall', 'gate', 'yard', 'dock', 'roof'] as const
const SECONDS_BETWEEN = 10

function stateOf(random: () => number): State {
  const dice = random()
  if (dice < 0.01) return { state: 'lost', reason: 'the broker lost it' }
  if (dice < 0.02) return { state: 'degraded', reason: 'the source stalls' }
  return { state: 'ready' }
}

/** A device that says who it is, what it runs and, twice, what that cost. */
class SimulatedDevice {
  readonly id
  readonly #receive: Receive
  readonly #random: () => number
  readonly #birth: Birth
  readonly #configuration: Configuration
  readonly #powerW: number
  readonly #bitsPerFrame: number
  #seq = 0

  constructor(index: number, options: SimulatedDevices, receive: Receive, random: () => number) {
    this.id = deviceIdSchema.parse(`cam-${String(index).padStart(5, '0')}`)
    this.#receive = receive
    this.#random = random
    this.#powerW = 3 + 9 * random()
    this.#bitsPerFrame = 4000 + 30_000 * random()
    this.#configuration = {
      family: options.family,
      variant: options.variants[index % options.variants.length]!,
      alpha255: 32 * Math.floor(8 * random()),
      mode: 'merged',
      backend: 'wasm',
      threads: 2,
      width: 512,
      height: 288,
      frameRate: 5,
    }
    this.#birth = {
      device: this.id,
      site: siteIdSchema.parse(`site-${String(Math.floor(options.sites * random() ** 1.6)).padStart(3, '0')}`),
      deviceClass: CLASSES[index % CLASSES.length]!,
      labels: { room: ROOMS[index % ROOMS.length]!, kind: index % 9 === 0 ? 'kiosk' : 'camera' },
      software: 'simulated',
      board: { model: 'simulated', arch: 'arm64', cores: 4, memoryBytes: 8e9 },
      energy: [],
      slots: [
        {
          slot: SLOT,
          family: options.family,
          manifestDigest: options.manifestDigest,
          source: { kind: 'synthetic', width: 512, height: 288, frameRate: 5 },
          backends: [{ backend: 'wasm', threads: 2 }],
          macsPerSecond: 8e9 + 3e10 * random(),
          weight: 1,
        },
      ],
    }
  }

  #say(
    kind: 'state' | 'birth' | 'reported' | 'telemetry',
    body: State | Birth | Reported | Telemetry,
    mono: number,
  ): void {
    const envelope = {
      v: 1,
      bd: 1,
      boot: `boot-${this.id}`,
      seq: this.#seq++,
      mono,
      wall: 0,
      clk: 'none',
      body,
    } as const
    this.#receive(upTopic(this.id, kind), formatMessage(envelope))
  }

  beBorn(): void {
    this.#say('birth', this.#birth, 1)
  }

  report(): void {
    const isBraked = this.#random() < 0.02
    const slot = { slot: SLOT, configuration: this.#configuration, phase: isBraked ? 'braked' : 'applied' } as const
    this.#say('reported', { gen: 0, slots: [isBraked ? { ...slot, reason: 'over its lease' } : slot] }, 2)
  }

  /** Counters after so many times ten seconds. */
  measure(times: number): void {
    const seconds = times * SECONDS_BETWEEN
    const frames = seconds * this.#configuration.frameRate
    const latency = new Histogram()
    for (let i = 0; i < frames; i++) latency.record(0.04 + 0.1 * this.#random())
    const isHot = this.#random() < 0.01
    this.#say(
      'telemetry',
      {
        energy: [
          {
            source: 'ina3221:vdd-in',
            rail: 'board',
            scope: 'board',
            method: 'integral',
            joules: this.#powerW * seconds,
            idleJoules: 2 * seconds,
            uncertainty: 0.05,
            coverage: 1,
            rateHz: 10,
          },
        ],
        machine: {
          celsius: { cpu: isHot ? 85 : 40 + 20 * this.#random() },
          clocksMhz: { cpu: 1500 },
          throttledNow: isHot ? ['cpu'] : [],
          throttledPast: [],
          throttleEvents: {},
        },
        carbon: { grams: (this.#powerW * seconds * 300) / 3.6e6, gramsPerKwh: 300, source: 'static' },
        slots: [
          {
            slot: SLOT,
            configuration: configurationId(this.#configuration),
            frames,
            dropped: 0,
            unsent: 0,
            late: 0,
            swaps: 0,
            bits: frames * this.#bitsPerFrame,
            joules: (this.#powerW - 0.5) * seconds,
            idleJoules: 1.5 * seconds,
            latency: latency.counts(),
            psnrSum: frames * (33 + 8 * this.#random()),
            psnrCount: frames,
          },
        ],
        self: { rssBytes: 6e7, cpuSeconds: seconds / 50, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 },
      },
      1000 + 1000 * seconds,
    )
  }

  settle(): void {
    this.#say('state', stateOf(this.#random), 1e6)
  }
}

/**
 * Let a fleet of made-up devices speak: births first, then twice what they did in ten seconds.
 *
 * @returns A function that lets those that measure do so again.
 */
export function simulateDevices(options: SimulatedDevices, receive: Receive): () => void {
  const random = seededRandom(1)
  const devices = Array.from({ length: options.devices }, (_, i) => new SimulatedDevice(i, options, receive, random))
  const measured = devices.filter((_, i) => i % options.measuredEvery === 0)
  for (const device of devices) {
    device.beBorn()
    device.report()
    device.settle()
  }
  for (const times of [1, 2]) for (const device of measured) device.measure(times)
  let times = 2
  return () => {
    times++
    for (const device of measured) device.measure(times)
  }
}
