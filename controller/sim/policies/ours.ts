import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import { type Causes, learnCauses, predictCauses, startCauses } from '../../estimate/causes.ts'
import { type ClassPrior, poolClass } from '../../estimate/class-prior.ts'
import { learnLatencyK, START_LATENCY_K } from '../../estimate/latency-bound.ts'
import { RowMargins } from '../../estimate/row-margins.ts'
import { toPlannable } from '../../plan/limits.ts'
import { deadlineSigmas } from '../../plan/option.ts'
import { solveWithMargins } from '../../plan/plan-fleet.ts'
import type { Choice } from '../../plan/problem.ts'
import { EPOCH_S, nominalJoules, nominalLatencyS, type SimFleet, worthOf } from '../fleet.ts'
import { cheapestOption, LEASE_EPOCHS } from '../play.ts'
import type { MakePolicy, Reading } from '../policy.ts'
import { makeChoice } from '../tables.ts'

export interface OursOptions {
  /** What staying is worth, as shares of the weight. */
  readonly modelBonus?: number
  readonly optionBonus?: number
  /** Plan for this share of the power limit. */
  readonly powerShare?: number
}

/** Frames of an epoch differ among themselves. */
const FRAME_VARIANCE = 0.04 ** 2
/** What a class knows is looked at again so often, epochs. */
const POOL_EVERY = 60

const prior: Causes = startCauses({
  bits: { mean: 0, variance: 0.4 ** 2, noise: 0.002 },
  latency: { mean: 0, variance: 0.2 ** 2, noise: 0.002 },
  energy: { mean: 0, variance: 0.2 ** 2, noise: 0.002 },
  quality: { mean: 0, variance: 2, noise: 0.2 },
})

const keysOf = (id: string) => ({ work: id, stream: id })

interface SimChoice extends Choice {
  readonly option: number
}

/** What the last plan expected, to learn from what came. */
interface Expected {
  readonly loadBps: readonly number[]
  readonly capacityBps: readonly number[]
  readonly powerW: number
  /** Standard deviations by the estimates. */
  readonly loadSigmaBps: readonly number[]
  readonly powerSigmaW: number
}

/**
 * The controller's own estimator, margins and planner, in epochs instead of messages. Beside cards, what a fleet may be told
 * and leases nothing here is of the simulator.
 */
export const makeOurs =
  ({ modelBonus = 0.025, optionBonus = 0.01, powerShare = 1 }: OursOptions = {}): MakePolicy =>
  (fleet: SimFleet) => {
    const { devices, sites, options, idleW } = fleet
    const cheapest = cheapestOption(fleet)
    const powerCapW = powerShare * fleet.powerCapW
    const classes = new Map<string, ClassPrior<Causes>>()
    const estimates: Causes[] = devices.map(() => prior)
    const margins = new RowMargins()
    const silentFor = new Uint16Array(devices.length)
    const held: (Choice | undefined)[] = devices.map(() => undefined)
    let latencyK = START_LATENCY_K
    let expected: Expected | undefined
    let before: Float64Array | undefined

    const peersOf = (i: number) => classes.get(devices[i]!.class.name)?.residuals

    function learnFrom(epoch: number, readings: readonly (Reading | undefined)[]): void {
      for (const [i, reading] of readings.entries()) {
        if (reading === undefined) continue
        const [option, device] = [options[reading.option]!, devices[i]!]
        const keys = keysOf(option.id)
        const ratios = {
          bits: reading.bitsPerFrame / option.bitsPerFrame,
          latency: reading.latencyS / nominalLatencyS(device, option),
          energy: reading.joulesPerFrame / nominalJoules(device, option),
          qualityDb: reading.psnrDb === undefined ? undefined : reading.psnrDb - option.psnrDb,
        }
        const old = estimates[i]!
        const learned = learnCauses(old, ratios, keys, peersOf(i))
        estimates[i] = learned
        const slowdown = { before: old.latency, after: learned.latency }
        latencyK = learnLatencyK(latencyK, slowdown, keys.work, Math.log(ratios.latency), peersOf(i)?.latency)
      }
      if (epoch % POOL_EVERY !== 0) return
      for (const name of new Set(devices.map((d) => d.class.name)))
        classes.set(
          name,
          poolClass(
            estimates.filter((_, i) => devices[i]!.class.name === name),
            prior,
          ),
        )
    }

    function learnRows(epoch: number, capacityBps: Float64Array, loadBps: Float64Array, powerW: number): void {
      if (expected === undefined) return
      const nowMs = epoch * EPOCH_S * 1000
      for (const [s, { id }] of sites.entries()) {
        const isCliff = before !== undefined && capacityBps[s]! < 0.9 * before[s]!
        const measured = loadBps[s]! / capacityBps[s]!
        const miss = measured - expected.loadBps[s]! / expected.capacityBps[s]!
        const predicted = (expected.loadSigmaBps[s]! / expected.capacityBps[s]!) ** 2
        margins.learn(`site:${id}`, { miss, isViolated: measured > 1 && !isCliff, predicted }, nowMs)
      }
      const movableW = powerCapW - idleW * devices.length
      const found = {
        miss: (powerW - expected.powerW) / movableW,
        isViolated: powerW > powerCapW,
        predicted: (expected.powerSigmaW / movableW) ** 2,
      }
      margins.learn('power', found, nowMs)
    }

    function choicesOf(i: number, running: number): readonly SimChoice[] {
      const device = devices[i]!
      const estimate = estimates[i]!
      let [fastest, least] = [0, Number.POSITIVE_INFINITY]
      const allowed: number[] = []
      const choices = options.map((option, j): SimChoice => {
        const { bits, latency, energy, qualityDb } = predictCauses(estimate, keysOf(option.id), peersOf(i))
        const sigma = Math.sqrt(latency.variance + FRAME_VARIANCE)
        const isSameModel = option.model === options[running]!.model
        const isStaying = isSameModel && option.frameRate === options[running]!.frameRate
        const slowestLog = latency.mean + deadlineSigmas(latencyK, isStaying) * sigma
        const slowestS = nominalLatencyS(device, option) * Math.exp(slowestLog)
        if (slowestS <= DEADLINE_SHARE / option.frameRate) allowed.push(j)
        if (slowestS * option.frameRate < least) [fastest, least] = [j, slowestS * option.frameRate]
        const rateBps = option.bitsPerFrame * option.frameRate * Math.exp(bits.mean)
        const activeW = nominalJoules(device, option) * option.frameRate * Math.exp(energy.mean)
        const bonus = (isSameModel ? modelBonus : 0) + (j === running ? optionBonus : 0)
        return {
          option: j,
          ...makeChoice(option.id, {
            rateBps,
            rateSigmaBps: rateBps * Math.sqrt(bits.variance),
            powerW: idleW + activeW,
            powerSigmaW: activeW * Math.sqrt(energy.variance),
            worth: device.weight * (worthOf(option.psnrDb + qualityDb, option) + bonus),
          }),
        }
      })
      return (allowed.length > 0 ? allowed : [fastest]).map((j) => choices[j]!)
    }

    return {
      decide({ epoch, readings, isConnected, planned, capacityBps, loadBps, powerW }) {
        learnFrom(epoch, readings)
        learnRows(epoch, capacityBps, loadBps, powerW)
        before = capacityBps
        // What an uplink carried last is what it is taken to carry next: how far that is off is in the margin.
        const expectedBps = [...capacityBps]
        const reserved = { bps: sites.map(() => 0), watts: 0 }
        const told: number[] = []
        for (const [i, { site }] of devices.entries()) {
          silentFor[i] = isConnected[i] ? 0 : silentFor[i]! + 1
          if (isConnected[i]) {
            told.push(i)
            continue
          }
          // It may be running on: its lease is not for others yet, and then what it falls back to.
          const keeps =
            silentFor[i]! <= LEASE_EPOCHS
              ? held[i]
              : choicesOf(i, cheapest).reduce((a, b) => (b.rateBps < a.rateBps ? b : a))
          reserved.bps[site]! += keeps?.rateBps ?? 0
          reserved.watts += (keeps?.powerMw ?? 0) / 1000
        }
        const basePower = { meanW: idleW }
        const slots = told.map((i) =>
          toPlannable(
            { key: devices[i]!.id, site: sites[devices[i]!.site]!.id, estimate: { basePower } },
            choicesOf(i, planned[i]!),
          ),
        )
        const { chosen } = solveWithMargins(slots, {
          sites: new Map(
            sites.map(({ id }, s) => [
              id,
              {
                total: Math.floor(expectedBps[s]!),
                reserved: Math.ceil(reserved.bps[s]!),
                marginShare: margins.shareOf(`site:${id}`),
              },
            ]),
          ),
          power: {
            total: Math.floor(powerCapW * 1000),
            reserved: Math.ceil(reserved.watts * 1000),
            marginShare: margins.shareOf('power'),
          },
        })
        const next = planned.slice()
        const load = [...reserved.bps]
        let power = reserved.watts
        const variance = sites.map(() => 0)
        let powerVariance = 0
        for (const [k, i] of told.entries()) {
          const choice = chosen[k]!
          next[i] = choice.option
          held[i] = choice
          load[devices[i]!.site]! += choice.rateBps
          power += choice.powerMw / 1000
          variance[devices[i]!.site]! += choice.rateSigmaBps ** 2
          powerVariance += (choice.powerSigmaMw / 1000) ** 2
        }
        expected = {
          loadBps: load,
          capacityBps: expectedBps,
          powerW: power,
          loadSigmaBps: variance.map((v) => Math.sqrt(v)),
          powerSigmaW: Math.sqrt(powerVariance),
        }
        return next
      },
    }
  }
