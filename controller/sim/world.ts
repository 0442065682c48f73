import type { BandwidthTrace } from './bandwidth-trace.ts'
import { EPOCH_S, nominalJoules, nominalLatencyS, type SimFleet } from './fleet.ts'
import { autoregression, type Random, seededRandom } from './random.ts'

/** `cut`: the device runs on and nobody hears of it; `down`: it does not run. */
export type Link = 'up' | 'cut' | 'down'

/** What is so, whatever anybody believes. One number for each epoch and device, or epoch and site. */
export interface World {
  readonly fleet: SimFleet
  readonly epochs: number
  link(epoch: number, device: number): Link
  capacityBps(epoch: number, site: number): number
  latencyS(epoch: number, device: number, option: number): number
  rateBps(epoch: number, device: number, option: number): number
  /** Idle power included. */
  powerW(epoch: number, device: number, option: number): number
  psnrDb(epoch: number, device: number, option: number): number
  /** Devices whose clock is off: their reports are filed one epoch late. */
  readonly isSkewed: readonly boolean[]
}

export interface WorldOptions {
  readonly epochs: number
  readonly seed: number
  /** Shapes of uplinks, dealt to the sites in turn, each scaled to the site's nominal rate; absent: synthetic. */
  readonly bandwidth?: readonly BandwidthTrace[]
}

const RESIDUAL_SIGMA = 0.06
const SKEWED_SHARE = 0.05
const THERMAL_SLOWDOWN = 0.18
const THERMAL_PERIOD_S = 5400
const CONTENTION_PER_HOUR = 0.5
const OUTAGES_PER_HOUR = 0.1
const CAPACITY_STEPS = [1, 0.8, 0.6]
const CAPACITY_STEPS_PER_HOUR = 3
/** Decibels that a picture loses for each unit of the logarithm of its complexity. */
const DB_PER_LOG_CONTENT = 3

const happens = (random: Random, perHour: number): boolean => random.uniform() < (perHour * EPOCH_S) / 3600

const between = (random: Random, low: number, high: number): number => low + (high - low) * random.uniform()

/** Poisson arrivals of spells, each with a length and a value; `rest` outside of them. */
function spells<T>(
  random: Random,
  perHour: number,
  minutes: readonly [number, number],
  rest: T,
  make: () => T,
): () => T {
  let [left, value] = [0, rest]
  return () => {
    if (left > 0) left--
    else {
      value = rest
      if (happens(random, perHour)) {
        left = Math.round((between(random, ...minutes) * 60) / EPOCH_S)
        value = make()
      }
    }
    return value
  }
}

function capacities(random: Random, epochs: number, nominalBps: number): Float64Array {
  const drift = autoregression(random, 0.95, 0.04)
  let step = 1
  return Float64Array.from({ length: epochs }, () => {
    if (happens(random, CAPACITY_STEPS_PER_HOUR)) step = CAPACITY_STEPS[Math.floor(random.uniform() * 3)]!
    return nominalBps * step * Math.exp(drift())
  })
}

function fromTrace(trace: BandwidthTrace, epochs: number, nominalBps: number): Float64Array {
  const all = trace.resample(EPOCH_S, epochs)
  const mean = all.reduce((a, b) => a + b, 0) / all.length
  return all.map((bps) => (nominalBps * bps) / mean)
}

/** Everything that happens to a fleet, drawn before anybody decides: each policy meets the same. */
export function makeWorld(fleet: SimFleet, { epochs, seed, bandwidth }: WorldOptions): World {
  const random = seededRandom(seed + 7919)
  const { options, devices, sites } = fleet
  const count = devices.length
  const table = () => new Float64Array(epochs * count)
  const [slowdown, content, quality] = [table(), table(), table()]
  const links = new Uint8Array(epochs * count)
  const residual = () => devices.map(() => options.map(() => Math.exp(RESIDUAL_SIGMA * random.normal())))
  const [latencyResidual, bitsResidual, powerResidual] = [residual(), residual(), residual()]

  const common = sites.map(() => {
    const next = autoregression(random, 0.985, 0.08)
    return Float64Array.from({ length: epochs }, next)
  })
  const capacity = sites.map(({ nominalBps }, s) =>
    bandwidth === undefined || bandwidth.length === 0
      ? capacities(random, epochs, nominalBps)
      : fromTrace(bandwidth[(s + seed) % bandwidth.length]!, epochs, nominalBps),
  )
  const phaseOf = new Map([...new Set(devices.map((d) => d.class.name))].map((name) => [name, random.uniform()]))

  for (const [i, device] of devices.entries()) {
    const own = Math.exp(0.12 * random.normal())
    const scene = 0.35 * random.normal()
    const lens = 0.8 * random.normal()
    const load = autoregression(random, 0.97, 0.06)
    const motion = autoregression(random, 0.98, 0.15)
    const contention = spells(random, CONTENTION_PER_HOUR, [1, 10], 1, () => between(random, 1.3, 2))
    const outage = spells(random, OUTAGES_PER_HOUR, [5, 25], 0, () => (random.uniform() < 0.5 ? 1 : 2))
    const phase = phaseOf.get(device.class.name)!
    for (let t = 0; t < epochs; t++) {
      const at = t * count + i
      const wave = Math.max(0, Math.sin(2 * Math.PI * ((t * EPOCH_S) / THERMAL_PERIOD_S + phase)))
      slowdown[at] = own * Math.exp(load()) * (1 + THERMAL_SLOWDOWN * wave) * contention()
      const complexity = scene + common[device.site]![t]! + motion()
      content[at] = Math.exp(complexity)
      quality[at] = lens - DB_PER_LOG_CONTENT * complexity
      links[at] = outage()
    }
  }

  const names: readonly Link[] = ['up', 'cut', 'down']
  return {
    fleet,
    epochs,
    isSkewed: devices.map(() => random.uniform() < SKEWED_SHARE),
    link: (t, i) => names[links[t * count + i]!]!,
    capacityBps: (t, s) => capacity[s]![t]!,
    latencyS: (t, i, j) =>
      nominalLatencyS(devices[i]!, options[j]!) * slowdown[t * count + i]! * latencyResidual[i]![j]!,
    rateBps: (t, i, j) =>
      options[j]!.bitsPerFrame * options[j]!.frameRate * content[t * count + i]! * bitsResidual[i]![j]!,
    powerW(t, i, j) {
      const joules = nominalJoules(devices[i]!, options[j]!) * slowdown[t * count + i]! * powerResidual[i]![j]!
      // A device that is always busy draws no more.
      return fleet.idleW + Math.min(devices[i]!.class.busyW, joules * options[j]!.frameRate)
    },
    psnrDb: (t, i, j) => options[j]!.psnrDb + quality[t * count + i]!,
  }
}
