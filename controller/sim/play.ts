import { EPOCH_S, type SimFleet, type SimOption, worthOf } from './fleet.ts'
import type { Policy, Reading, View } from './policy.ts'
import { type Random, seededRandom } from './random.ts'
import type { World } from './world.ts'

/** What a policy came to over all epochs that count. Shares are of site-epochs, epochs or frames, 0 to 1. */
export interface Outcome {
  /** Sum over devices and epochs of what was worth something in time. */
  readonly utility: number
  readonly powerW: number
  readonly siteViolations: number
  /** Of each site alone. */
  readonly violationsBySite: readonly number[]
  /** Those of epochs in which the uplink had not just fallen by more than 10 %. */
  readonly avoidableViolations: number
  /** Mean excess of the violations, as a share of the uplink. */
  readonly overshoot: number
  readonly powerViolations: number
  readonly late: number
  /** Per hour and device. */
  readonly reloads: number
  readonly switches: number
  /** Utility of each counted epoch. */
  readonly utilityByEpoch: Float64Array
}

const WARM_UP_S = 600
/** Shares of an epoch's utility: 3 s of loading, a fifth of a second of changing alpha or rate. */
const RELOAD_COST = 0.3
const ADJUST_COST = 0.02
/** Frames of one epoch differ by this much, as a logarithm. */
const FRAME_JITTER = 0.04
const CLIFF = 0.1
/** The agent's own brake: a device that misses more than this share takes its cheapest option within two seconds. */
const BRAKE_AT = 0.1
const BRAKE_SHARE = 2 / EPOCH_S
/** A device that is cut off takes its cheapest option when its lease has run out. */
export const LEASE_EPOCHS = 12

const REPORT_NOISE = 0.03
const SPIKE_SHARE = 0.01
const LOST_SHARE = 0.03
const QUALITY_SHARE = 0.2

/** Of the normal distribution above x; logistic approximation of Bowling et al. 2009, error below 2e-4. */
const upperTail = (x: number): number => 1 / (1 + Math.exp(0.07056 * x ** 3 + 1.5976 * x))

/** Share of frames that miss their interval. */
export const lateShare = (latencyS: number, frameRate: number): number =>
  upperTail(-Math.log(latencyS * frameRate) / FRAME_JITTER)

function report(world: World, random: Random, t: number, i: number, j: number): Reading | undefined {
  const noisy = (value: number, scale = 1): number => {
    const spike = random.uniform() < SPIKE_SHARE ? 1.5 + 1.5 * random.uniform() : 1
    return value * spike * Math.exp(scale * REPORT_NOISE * random.normal())
  }
  const { frameRate } = world.fleet.options[j]!
  const psnrDb = world.psnrDb(t, i, j) + 0.3 * random.normal()
  const reading = {
    option: j,
    latencyS: noisy(world.latencyS(t, i, j)),
    bitsPerFrame: noisy(world.rateBps(t, i, j) / frameRate),
    joulesPerFrame: noisy((world.powerW(t, i, j) - world.fleet.idleW) / frameRate),
    psnrDb: random.uniform() < QUALITY_SHARE ? psnrDb : undefined,
  }
  return random.uniform() < LOST_SHARE ? undefined : reading
}

function exactReport(world: World, t: number, i: number, j: number): Reading {
  const { frameRate } = world.fleet.options[j]!
  return {
    option: j,
    latencyS: world.latencyS(t, i, j),
    bitsPerFrame: world.rateBps(t, i, j) / frameRate,
    joulesPerFrame: (world.powerW(t, i, j) - world.fleet.idleW) / frameRate,
    psnrDb: world.psnrDb(t, i, j),
  }
}

/** The fallback rung: the smallest model at its lowest rate. */
export function cheapestOption(fleet: SimFleet): number {
  const cost = ({ bitsPerFrame, frameRate, model }: SimOption) => model * 1e9 + bitsPerFrame * frameRate
  return fleet.options.reduce((best, option, j, all) => (cost(option) < cost(all[best]!) ? j : best), 0)
}

interface PlayOptions {
  /** Changes cost nothing: the reference that no controller reaches. */
  readonly isSwitchingFree?: boolean
  /** Readings are what is so: of recorded traces, which have their noise already. */
  readonly isReportedExactly?: boolean
}

/** Let a policy decide for a world, epoch by epoch. */
export function play(
  world: World,
  policy: Policy,
  { isSwitchingFree = false, isReportedExactly = false }: PlayOptions = {},
): Outcome {
  const { devices, sites, options, powerCapW } = world.fleet
  const count = devices.length
  // Every policy meets the same luck in reporting, as far as it runs the same.
  const random = seededRandom(count + world.epochs)
  const reportOf = (t: number, i: number, j: number) =>
    isReportedExactly ? exactReport(world, t, i, j) : report(world, random, t, i, j)
  const cheapest = cheapestOption(world.fleet)
  const warmUp = Math.min(WARM_UP_S / EPOCH_S, Math.floor(world.epochs / 4))
  const silentFor = new Uint16Array(count)
  const isBraked = new Uint8Array(count)
  let running: Uint8Array = new Uint8Array(count).fill(cheapest)
  let view: View = {
    epoch: 0,
    readings: devices.map(() => undefined),
    isConnected: devices.map(() => true),
    planned: running.slice(),
    capacityBps: Float64Array.from(sites, ({ nominalBps }) => nominalBps),
    loadBps: new Float64Array(sites.length),
    powerW: 0,
  }
  const delayed: (Reading | undefined)[] = devices.map(() => undefined)
  const utilityByEpoch = new Float64Array(world.epochs - warmUp)
  const violations = new Uint32Array(sites.length)
  let [powerSum, siteViolations, avoidable, overshoot, powerViolations] = [0, 0, 0, 0, 0]
  let [lateSum, ran, reloads, switches] = [0, 0, 0, 0]

  for (let t = 0; t < world.epochs; t++) {
    const isConnected = devices.map((_, i) => world.link(t, i) === 'up')
    const decided = policy.decide({ ...view, epoch: t, isConnected })
    const now = running.slice()
    const loadBps = new Float64Array(sites.length)
    let powerW = 0
    for (let i = 0; i < count; i++) {
      const link = world.link(t, i)
      silentFor[i] = link === 'up' ? 0 : silentFor[i]! + 1
      if (link === 'up') now[i] = decided[i]!
      else if (silentFor[i]! > LEASE_EPOCHS || isBraked[i]) now[i] = cheapest
      if (link === 'down') continue
      loadBps[devices[i]!.site]! += world.rateBps(t, i, now[i]!)
      powerW += world.powerW(t, i, now[i]!)
    }
    const capacityBps = Float64Array.from(sites, (_, s) => world.capacityBps(t, s))
    const isCounted = t >= warmUp
    const readings: (Reading | undefined)[] = []
    for (let i = 0; i < count; i++) {
      const link = world.link(t, i)
      if (link === 'down') {
        readings.push(undefined)
        continue
      }
      const j = now[i]!
      const site = devices[i]!.site
      const fresh = link === 'up' ? reportOf(t, i, j) : undefined
      readings.push(world.isSkewed[i] ? delayed[i] : fresh)
      delayed[i] = fresh
      const { frameRate, model } = options[j]!
      const missed = lateShare(world.latencyS(t, i, j), frameRate)
      isBraked[i] = missed > BRAKE_AT && j !== cheapest ? 1 : 0
      if (!isCounted) continue
      const late = isBraked[i] ? BRAKE_SHARE * missed : missed
      const worth = worthOf(world.psnrDb(t, i, j), options[j]!)
      const inTime = isBraked[i]
        ? BRAKE_SHARE * (1 - missed) * worth +
          (1 - BRAKE_SHARE) * worthOf(world.psnrDb(t, i, cheapest), options[cheapest]!)
        : (1 - missed) * worth
      const delivered = Math.min(1, capacityBps[site]! / loadBps[site]!)
      const isChanged = j !== running[i]
      const isReloaded = isChanged && model !== options[running[i]!]!.model
      const lost = isSwitchingFree ? 0 : isReloaded ? RELOAD_COST : isChanged ? ADJUST_COST : 0
      utilityByEpoch[t - warmUp]! += devices[i]!.weight * inTime * delivered * (1 - lost)
      lateSum += late
      ran++
      if (isReloaded) reloads++
      if (isChanged) switches++
    }
    if (isCounted) {
      powerSum += powerW
      if (powerW > powerCapW) powerViolations++
      for (const s of sites.keys()) {
        const excess = loadBps[s]! / capacityBps[s]! - 1
        if (excess <= 0) continue
        siteViolations++
        violations[s]!++
        overshoot += excess
        if (capacityBps[s]! >= (1 - CLIFF) * world.capacityBps(Math.max(0, t - 1), s)) avoidable++
      }
    }
    running = now
    view = { epoch: t, readings, isConnected, planned: now.slice(), capacityBps, loadBps, powerW }
  }

  const epochs = world.epochs - warmUp
  const deviceHours = (ran * EPOCH_S) / 3600
  return {
    utility: utilityByEpoch.reduce((a, b) => a + b, 0),
    powerW: powerSum / epochs,
    siteViolations: siteViolations / (epochs * sites.length),
    violationsBySite: [...violations].map((n) => n / epochs),
    avoidableViolations: avoidable / (epochs * sites.length),
    overshoot: siteViolations === 0 ? 0 : overshoot / siteViolations,
    powerViolations: powerViolations / epochs,
    late: lateSum / Math.max(1, ran),
    reloads: reloads / Math.max(1e-9, deviceHours),
    switches: switches / Math.max(1e-9, deviceHours),
    utilityByEpoch,
  }
}
