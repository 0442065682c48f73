import { utilityOf } from '../plan/quality.ts'
import { type Random, seededRandom } from './random.ts'

/** A configuration of the simulated family: variant x alpha x frame rate. */
export interface SimOption {
  readonly id: string
  readonly model: number
  readonly bitsPerFrame: number
  readonly psnrDb: number
  readonly frameRate: number
  /** Of what the source delivers, 0 to 1. */
  readonly rateShare: number
}

export interface DeviceClass {
  readonly name: string
  /** Latency of each model, as cards say. */
  readonly latencyS: readonly number[]
  /** Joules above idle of a frame of each model, as cards say. */
  readonly joules: readonly number[]
  /** Drawn above idle by a device that is always busy. */
  readonly busyW: number
}

export interface SimDevice {
  readonly id: string
  readonly site: number
  readonly class: DeviceClass
  readonly weight: number
}

/** What every policy may know: cards, weights, sites, limits. */
export interface SimFleet {
  readonly options: readonly SimOption[]
  readonly devices: readonly SimDevice[]
  readonly sites: readonly { readonly id: string; readonly nominalBps: number; readonly members: readonly number[] }[]
  /** Of the whole fleet, idle power included. */
  readonly powerCapW: number
  /** Of one device. */
  readonly idleW: number
}

export const EPOCH_S = 10
const IDLE_W = 2.5
const DEVICES_PER_SITE = 50
const FULL_RATE = 20
const ALPHAS = [
  { bits: 1, lossDb: 0 },
  { bits: 0.5, lossDb: 1.8 },
  { bits: 0.25, lossDb: 4 },
]
const MODELS = [
  { cost: 0.35, psnrDb: 31.5, bitsPerFrame: 56_000 },
  { cost: 0.6, psnrDb: 33.2, bitsPerFrame: 53_000 },
  { cost: 1, psnrDb: 34.6, bitsPerFrame: 50_000 },
  { cost: 1.6, psnrDb: 35.6, bitsPerFrame: 48_000 },
]
/** A saturated board draws a little more than its mean while it works. */
const BUSY_SHARE = 1.1
const CLASSES: readonly DeviceClass[] = [
  { name: 'small', baseS: 0.052, activeW: 5 },
  { name: 'medium', baseS: 0.034, activeW: 8 },
  { name: 'large', baseS: 0.02, activeW: 13 },
].map(({ name, baseS, activeW }) => ({
  name,
  latencyS: MODELS.map(({ cost }) => baseS * cost),
  joules: MODELS.map(({ cost }) => activeW * (baseS * cost)),
  busyW: BUSY_SHARE * activeW,
}))
/** Uplinks and power carry about this share of what the best of every device would take. */
const UPLINK_SHARE = 0.5
const POWER_SHARE = 0.55

const OPTIONS: readonly SimOption[] = MODELS.flatMap((model, m) =>
  ALPHAS.flatMap((alpha, a) =>
    [FULL_RATE, FULL_RATE / 2].map((frameRate) => ({
      id: `m${m}/a${a}@${frameRate}`,
      model: m,
      // The second frame of two differs more from the first at half the rate.
      bitsPerFrame: model.bitsPerFrame * alpha.bits * (frameRate < FULL_RATE ? 1.15 : 1),
      psnrDb: model.psnrDb - alpha.lossDb,
      frameRate,
      rateShare: frameRate / FULL_RATE,
    })),
  ),
)

const UNWEIGHTED = { weight: 1, source: { frameRate: 1 } }

/** 0 to 1, the planner's measure of a picture rate and quality; weights are the caller's. */
export const worthOf = (psnrDb: number, { rateShare }: Pick<SimOption, 'rateShare'>): number =>
  utilityOf({ psnrDb }, rateShare, UNWEIGHTED)

export const nominalLatencyS = (device: SimDevice, option: SimOption): number => device.class.latencyS[option.model]!

/** Above idle. */
export const nominalJoules = (device: SimDevice, option: SimOption): number => device.class.joules[option.model]!

const pick = <T>(random: Random, list: readonly T[]): T => list[Math.floor(random.uniform() * list.length)]!

/** A fleet of one family on three classes of device. */
export function makeFleet({ devices: count, seed }: { devices: number; seed: number }): SimFleet {
  const random = seededRandom(seed)
  const siteCount = Math.max(1, Math.round(count / DEVICES_PER_SITE))
  const devices = Array.from(
    { length: count },
    (_, i): SimDevice => ({
      id: `d${String(i).padStart(5, '0')}`,
      site: i % siteCount,
      class: pick(random, CLASSES),
      weight: pick(random, [0.5, 1, 1, 2]),
    }),
  )
  const best = OPTIONS.reduce((a, b) => (worthOf(b.psnrDb, b) > worthOf(a.psnrDb, a) ? b : a))
  const sites = Array.from({ length: siteCount }, (_, s) => {
    const members = [...devices.keys()].filter((i) => devices[i]!.site === s)
    const nominalBps = UPLINK_SHARE * members.length * best.bitsPerFrame * best.frameRate
    return { id: `site${s}`, nominalBps, members }
  })
  const fullW = devices.reduce(
    (sum, d) => sum + Math.min((0.97 / BUSY_SHARE) * d.class.busyW, nominalJoules(d, best) * FULL_RATE),
    0,
  )
  return { options: OPTIONS, devices, sites, powerCapW: IDLE_W * count + POWER_SHARE * fullW, idleW: IDLE_W }
}
