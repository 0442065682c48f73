import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Families } from '@espalier/controller/families'
import type { Fleet } from '@espalier/controller/ingest/fleet'
import { extendWindow } from '@espalier/controller/ingest/recent-window'
import { windowBetween } from '@espalier/controller/ingest/window'
import { predictNominal } from '@espalier/controller/plan/predict'
import { openVirtualController } from '@espalier/controller/sim/virtual-controller'
import type { TelemetryRow } from '@espalier/controller/store/telemetry'
import type { Configuration } from '@espalier/shared/configuration'
import { configurationId, parseConfigurationId } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import { type DeviceId, deviceIdSchema, siteIdSchema, slotIdSchema } from '@espalier/shared/ids'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import { parseManifest } from '@espalier/shared/manifest/manifest'
import type { Desired } from '@espalier/shared/messages/controller'
import type { Birth, Telemetry } from '@espalier/shared/messages/device'
import { seededRandom } from './seeded-random.ts'

export interface ControllerPlanResult {
  readonly slots: number
  /** Everybody is told for the first time: capsules signed by nobody, all else as in production. */
  readonly firstMs: number
  /** After telemetry of every device, median of the plans. */
  readonly replanMs: number
  readonly mostMs: number
  /** After telemetry of one device, median of several. */
  readonly oneMs: number
  /** Devices that were told something new in the median plan. */
  readonly changed: number
  readonly gapPct: number
}

const PER_SITE = 50
const SPEEDS = [6e9, 12e9, 40e9]
const SLOT = slotIdSchema.parse('cam0')
/** Plans that are timed, and those before, in which the fleet settles and code is compiled. */
const [TIMED, UNTIMED] = [7, 10]
/** Between two plans everybody is heard once. */
const ROUND_S = 2
const CPU_W = 2

/** A device that costs its card times factors of its own. */
class FabricatedDevice {
  readonly id: DeviceId
  readonly birth: Birth
  running: Configuration
  #seq = 0
  #seconds = 0
  #frames = 0
  #bits = 0
  #joules = 0
  #swaps = 0
  readonly #latency = new Histogram()
  readonly #codec: CodecManifest
  readonly #random: () => number
  readonly #factors: { readonly bits: number; readonly latency: number; readonly energy: number }

  constructor(i: number, codec: CodecManifest, random: () => number) {
    this.#codec = codec
    this.#random = random
    const factor = (spread: number): number => Math.exp(spread * (random() - 0.5))
    this.#factors = { bits: factor(1), latency: factor(0.4), energy: factor(0.4) }
    this.id = deviceIdSchema.parse(`cam-${String(i).padStart(5, '0')}`)
    const source = { kind: 'clip', width: 512, height: 288, frameRate: 10 }
    this.birth = {
      device: this.id,
      site: siteIdSchema.parse(`site-${Math.floor(i / PER_SITE)}`),
      deviceClass: `class-${i % SPEEDS.length}`,
      labels: {},
      software: 'fabricated',
      board: { model: 'fabricated', arch: 'arm64', cores: 4, memoryBytes: 8e9 },
      energy: [],
      slots: [
        {
          slot: SLOT,
          family: codec.family,
          manifestDigest: 'a'.repeat(64) as Birth['slots'][number]['manifestDigest'],
          source,
          backends: [{ backend: 'wasm', threads: 2 }],
          macsPerSecond: SPEEDS[i % SPEEDS.length]! * (0.9 + 0.2 * random()),
          weight: 0.5 + random(),
        },
      ],
    }
    this.running = {
      family: codec.family,
      variant: codec.variants[0]!.id,
      alpha255: 255,
      mode: 'merged',
      backend: 'wasm',
      threads: 2,
      width: 256,
      height: 144,
      frameRate: 2,
    }
  }

  follow(desired: Desired): void {
    const next = desired.slots[0]!.ladder[0]!.configuration
    if (configurationId(next) !== configurationId(this.running)) this.#swaps++
    this.running = next
  }

  /** Counters after so many seconds more. */
  work(seconds: number): TelemetryRow {
    const counters = this.#count(seconds)
    return { boot: `boot-${this.id}`, seq: this.#seq++, monoMs: 1000 * this.#seconds, counters }
  }

  #count(seconds: number): Telemetry {
    const nominal = predictNominal(this.running, this.birth.slots[0]!, this.#codec)
    const frames = Math.round(seconds * this.running.frameRate)
    const picture = Math.exp(0.2 * (this.#random() - 0.5))
    this.#seconds += seconds
    this.#frames += frames
    this.#bits += frames * nominal.bitsPerFrame * this.#factors.bits * picture
    this.#joules += frames * nominal.joulesPerFrame * this.#factors.energy
    for (let i = 0; i < frames; i++) this.#latency.record(nominal.latencyS * this.#factors.latency)
    const idleJoules = CPU_W * this.#seconds
    const [joules, modelled] = [
      this.#joules + idleJoules,
      { source: 'model:cpu', rail: 'all', scope: 'modelled' } as const,
    ]
    return {
      energy: [{ ...modelled, method: 'model', joules, idleJoules, uncertainty: 0.2, coverage: 1, rateHz: 1 }],
      slots: [
        {
          slot: SLOT,
          configuration: configurationId(this.running),
          frames: this.#frames,
          dropped: 0,
          unsent: 0,
          late: 0,
          swaps: this.#swaps,
          bits: Math.round(this.#bits),
          joules,
          idleJoules,
          latency: this.#latency.counts(),
          psnrSum: this.#frames * nominal.psnrDb,
          psnrCount: this.#frames,
        },
      ],
      self: { rssBytes: 1e7, cpuSeconds: 0, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 },
    }
  }
}

/** What ingest makes of a telemetry message, without parsing and storing it. */
function learn(fleet: Fleet, { id, birth }: FabricatedDevice, row: TelemetryRow, codec: CodecManifest, nowMs: number) {
  const device = fleet.open(id)
  const window = device.recent && windowBetween(device.recent.last, row, SLOT)
  const configuration = window && parseConfigurationId(window.configuration)
  device.recent = extendWindow(device.recent, row)
  device.lastSeenMs = nowMs
  if (window === undefined || configuration === undefined) return
  const [slot] = birth.slots
  fleet.beliefs.learn(device, slot!, window, predictNominal(configuration, slot!, codec), nowMs)
}

/**
 * The planner of the controller itself, with its database and a fleet of fabricated devices that it hears: what one
 * turn of its timer costs, from estimates and budgets to what is sent.
 *
 * @param models Folder of families.
 */
export async function measureController(slots: number, models: string): Promise<ControllerPlanResult> {
  const manifest = parseManifest(await readFile(join(models, 'kodo', 'manifest.json'), 'utf8'), 'kodo')
  if (manifest.task !== 'image-codec') throw new TypeError('Cannot plan "kodo": expected an image codec')
  const known = { manifest, manifestDigest: 'a'.repeat(64) }
  const families = { get: () => known, version: () => known, list: () => [known] } as unknown as Families
  const random = seededRandom(1)
  const devices = Array.from({ length: slots }, (_, i) => new FabricatedDevice(i, manifest, random))
  const byId = new Map(devices.map((device) => [device.id, device]))
  const told = new Set<DeviceId>()
  // In memory: CPU is measured, not the disk.
  const controller = openVirtualController({
    path: ':memory:',
    families,
    onDesired(id, desired) {
      told.add(id)
      byId.get(id)!.follow(desired)
    },
  })
  const { store, fleet, clock, planner } = controller
  const plan = async (): Promise<number> => {
    told.clear()
    const from = process.cpuUsage()
    await controller.plan()
    const { user, system } = process.cpuUsage(from)
    return (user + system) / 1000
  }
  const hear = (seconds: number): void => {
    controller.pass(seconds)
    for (const device of devices) learn(fleet, device, device.work(seconds), manifest, clock.wallMs())
  }
  try {
    for (const { id, birth } of devices) Object.assign(fleet.open(id), { state: 'ready', birth })
    const sites = Math.ceil(slots / PER_SITE)
    for (let s = 0; s < sites; s++) {
      const place = { gateway: `mast-${Math.floor(s / 10)}`, carbonGPerKwh: [60, 320, 480][s % 3]! }
      store.budgets.change(`site:site-${s}`, { rateBps: PER_SITE * 250_000, ...place }, clock.wallMs())
      if (s % 10 === 0) store.budgets.change(`gateway:mast-${s / 10}`, { rateBps: 460 * 250_000 }, clock.wallMs())
    }
    store.budgets.change('fleet', { powerW: slots * 3.5, carbonGPerH: slots * 3.5 * 0.27 }, clock.wallMs())
    hear(1)
    hear(5)
    const firstMs = await plan()
    const rounds: { ms: number; changed: number }[] = []
    for (let round = 0; round < UNTIMED + TIMED; round++) {
      hear(ROUND_S)
      rounds.push({ ms: await plan(), changed: told.size })
    }
    const ones: number[] = []
    for (let k = 0; k < 2 * TIMED; k++) {
      controller.pass(0.2)
      const device = devices[(137 * k) % slots]!
      learn(fleet, device, device.work(ROUND_S), manifest, clock.wallMs())
      ones.push(await plan())
    }
    const timed = rounds.slice(UNTIMED).sort((a, b) => a.ms - b.ms)
    const middle = timed[TIMED >>> 1]!
    return {
      slots,
      firstMs,
      replanMs: middle.ms,
      mostMs: timed.at(-1)!.ms,
      oneMs: ones.sort((a, b) => a - b)[TIMED]!,
      changed: middle.changed,
      gapPct: 100 * planner.latest()!.gap,
    }
  } finally {
    controller.close()
  }
}
