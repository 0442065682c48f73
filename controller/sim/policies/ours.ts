import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import { adaptK } from '../../estimate/adapt-k.ts'
import { type Factor, predictFactor, startFactor, updateFactor } from '../../estimate/factor.ts'
import { type Filter, startFilter, updateFilter } from '../../estimate/filter.ts'
import { marginShare, type RowMargin, startRowMargin, updateRowMargin } from '../../estimate/row-margin.ts'
import type { Choice } from '../../plan/problem.ts'
import { IDLE_W, nominalJoules, nominalLatencyS, type SimFleet, worthOf } from '../fleet.ts'
import { cheapestOption, LEASE_EPOCHS } from '../play.ts'
import type { MakePolicy, Reading } from '../policy.ts'
import { type DeviceTable, makeChoice, solveTables } from '../tables.ts'

export interface OursOptions {
  /** What staying is worth, as shares of the weight. */
  readonly modelBonus?: number
  readonly optionBonus?: number
  /** Plan for this share of the power limit. */
  readonly powerShare?: number
}

const LATENCY_K = { target: 0.01, step: 2, least: 1.5, most: 6 }
/** Frames of an epoch differ among themselves. */
const FRAME_VARIANCE = 0.04 ** 2
const ROW_SIGMAS = 2
const MAX_ATTEMPTS = 4

interface Estimate {
  readonly slowdown: Factor
  readonly content: Factor
  readonly power: Factor
  readonly quality: Filter
}

const prior: Estimate = {
  slowdown: startFactor({ mean: 0, variance: 0.2 ** 2, noise: 0.002 }),
  content: startFactor({ mean: 0, variance: 0.4 ** 2, noise: 0.002 }),
  power: startFactor({ mean: 0, variance: 0.2 ** 2, noise: 0.002 }),
  quality: startFilter({ mean: 0, variance: 2, noise: 0.2 }),
}

function learn(fleet: SimFleet, i: number, estimate: Estimate, reading: Reading): Estimate {
  const option = fleet.options[reading.option]!
  const device = fleet.devices[i]!
  const { slowdown, content, power, quality } = estimate
  return {
    slowdown: updateFactor(slowdown, option.id, Math.log(reading.latencyS / nominalLatencyS(device, option))),
    content: updateFactor(content, option.id, Math.log(reading.bitsPerFrame / option.bitsPerFrame)),
    power: updateFactor(power, option.id, Math.log(reading.joulesPerFrame / nominalJoules(device, option))),
    quality: reading.psnrDb === undefined ? quality : updateFilter(quality, reading.psnrDb - option.psnrDb, 10),
  }
}

/** What an uplink will carry: falls at once with what it carried, recovers slowly. */
function expectCapacity(average: Float64Array, last: Float64Array): number[] {
  return [...last].map((bps, s) => {
    const mixed = 0.8 * average[s]! + 0.2 * bps
    average[s] = mixed
    return Math.min(bps, mixed)
  })
}

interface Rows {
  readonly siteBps: readonly number[]
  readonly powerW: number
}

/** What the last plan expected, to learn from what came. */
interface Expected {
  readonly loadBps: readonly number[]
  readonly capacityBps: readonly number[]
  readonly powerW: number
}

/** The controller: factors by cause, margins by row, the planner. */
export const makeOurs =
  ({ modelBonus = 0.03, optionBonus = 0.01, powerShare = 1 }: OursOptions = {}): MakePolicy =>
  (fleet) => {
    const { devices, sites, options } = fleet
    const cheapest = cheapestOption(fleet)
    const powerCapW = powerShare * fleet.powerCapW
    const estimates: Estimate[] = devices.map(() => prior)
    const margins: RowMargin[] = sites.map(() => startRowMargin)
    const average = Float64Array.from(sites, ({ nominalBps }) => nominalBps)
    const silentFor = new Uint16Array(devices.length)
    const held: (Choice | undefined)[] = devices.map(() => undefined)
    const bounds: (number | undefined)[] = devices.map(() => undefined)
    let powerMargin = startRowMargin
    let latencyK = LATENCY_K.least
    let expected: Expected | undefined
    let before: Float64Array | undefined

    function learnFrom(readings: readonly (Reading | undefined)[]): void {
      let [judged, missed] = [0, 0]
      for (const [i, reading] of readings.entries()) {
        if (reading === undefined) continue
        const bound = bounds[i]
        const { surprise, readings: seen } = estimates[i]!.slowdown.common
        estimates[i] = learn(fleet, i, estimates[i]!, reading)
        // One reading beyond the gate may be a spike; if the next agrees both were misses.
        const isSetAside = estimates[i]!.slowdown.common.readings === seen
        if (bound === undefined || isSetAside) continue
        judged++
        if (reading.latencyS > bound) missed += surprise === 0 ? 1 : 2
      }
      if (judged > 0) latencyK = adaptK(latencyK, missed / judged, LATENCY_K)
    }

    function learnRows(capacityBps: Float64Array, loadBps: Float64Array, powerW: number): void {
      if (expected === undefined) return
      for (const s of sites.keys()) {
        const isCliff = before !== undefined && capacityBps[s]! < 0.9 * before[s]!
        const measured = loadBps[s]! / capacityBps[s]!
        const planned = expected.loadBps[s]! / expected.capacityBps[s]!
        margins[s] = updateRowMargin(margins[s]!, { miss: measured - planned, isViolated: measured > 1 && !isCliff })
      }
      const miss = (powerW - expected.powerW) / (powerCapW - IDLE_W * devices.length)
      powerMargin = updateRowMargin(powerMargin, { miss, isViolated: powerW > powerCapW })
    }

    function tableOf(i: number, running: number): DeviceTable {
      const device = devices[i]!
      const { slowdown, content, power, quality } = estimates[i]!
      const allowed: number[] = []
      let [fastest, least] = [0, Number.POSITIVE_INFINITY]
      const choices = options.map((option, j) => {
        const latency = predictFactor(slowdown, option.id)
        const sigma = Math.sqrt(latency.variance + FRAME_VARIANCE)
        const slowestS = nominalLatencyS(device, option) * Math.exp(latency.mean + latencyK * sigma)
        if (slowestS <= DEADLINE_SHARE / option.frameRate) allowed.push(j)
        if (slowestS * option.frameRate < least) [fastest, least] = [j, slowestS * option.frameRate]
        const bits = predictFactor(content, option.id)
        const joules = predictFactor(power, option.id)
        const rateBps = option.bitsPerFrame * option.frameRate * Math.exp(bits.mean)
        const activeW = nominalJoules(device, option) * option.frameRate * Math.exp(joules.mean)
        const isSameModel = option.model === options[running]!.model
        const bonus = (isSameModel ? modelBonus : 0) + (j === running ? optionBonus : 0)
        return makeChoice(option.id, {
          rateBps,
          rateSigmaBps: rateBps * Math.sqrt(bits.variance),
          powerW: IDLE_W + activeW,
          powerSigmaW: activeW * Math.sqrt(joules.variance),
          worth: device.weight * (worthOf(option.psnrDb + quality.mean, option.frameRate) + bonus),
        })
      })
      const left = allowed.length > 0 ? allowed : [fastest]
      return { options: left, choices: left.map((j) => choices[j]!) }
    }

    function cheapestChoice(i: number): Choice {
      const { choices } = tableOf(i, cheapest)
      return choices.reduce((a, b) => (b.rateBps < a.rateBps ? b : a))
    }

    /** Solve, look at what margin the answer needs, tighten what would not hold, and solve again. */
    function plan(tables: ReadonlyMap<number, DeviceTable>, rows: Rows) {
      const movableW = rows.powerW - IDLE_W * tables.size
      let siteBps = rows.siteBps.map((bps, s) => bps * (1 - marginShare(margins[s]!)))
      let powerW = rows.powerW - marginShare(powerMargin) * movableW
      for (let attempt = 1; ; attempt++) {
        const { chosen, picked } = solveTables(fleet, tables, { siteBps, powerW })
        const [load, variance] = [sites.map(() => 0), sites.map(() => 0)]
        let [power, powerVariance] = [0, 0]
        for (const [i, choice] of picked) {
          load[devices[i]!.site]! += choice.rateBps
          variance[devices[i]!.site]! += choice.rateSigmaBps ** 2
          power += choice.powerMw / 1000
          powerVariance += (choice.powerSigmaMw / 1000) ** 2
        }
        const over = sites.map((_, s) => load[s]! + ROW_SIGMAS * Math.sqrt(variance[s]!) - rows.siteBps[s]!)
        const overW = power + ROW_SIGMAS * Math.sqrt(powerVariance) - rows.powerW
        if ((over.every((bps) => bps <= 0) && overW <= 0) || attempt === MAX_ATTEMPTS)
          return { chosen, picked, load, power }
        siteBps = siteBps.map((bps, s) => bps - Math.max(0, over[s]!))
        powerW -= Math.max(0, overW)
      }
    }

    return {
      decide({ readings, isConnected, planned, capacityBps, loadBps, powerW }) {
        learnFrom(readings)
        learnRows(capacityBps, loadBps, powerW)
        before = capacityBps
        const expectedBps = expectCapacity(average, capacityBps)
        const siteBps = [...expectedBps]
        const reserved = { bps: sites.map(() => 0), watts: 0 }
        const tables = new Map<number, DeviceTable>()
        for (const [i, { site }] of devices.entries()) {
          silentFor[i] = isConnected[i] ? 0 : silentFor[i]! + 1
          if (isConnected[i]) tables.set(i, tableOf(i, planned[i]!))
          else if (silentFor[i]! <= LEASE_EPOCHS) {
            // It may be running on: its lease is not for others yet.
            reserved.bps[site]! += held[i]?.rateBps ?? 0
            reserved.watts += (held[i]?.powerMw ?? 0) / 1000
          } else {
            // Whether it runs is not known; if it does, it runs this.
            const fallback = cheapestChoice(i)
            reserved.bps[site]! += fallback.rateBps
            reserved.watts += fallback.powerMw / 1000
          }
        }
        for (const s of sites.keys()) siteBps[s]! -= reserved.bps[s]!
        const { chosen, picked, load, power } = plan(tables, { siteBps, powerW: powerCapW - reserved.watts })
        const next = planned.slice()
        for (const [i, j] of chosen) {
          next[i] = j
          held[i] = picked.get(i)!
          const { slowdown } = estimates[i]!
          const { mean, variance } = predictFactor(slowdown, options[j]!.id)
          bounds[i] =
            nominalLatencyS(devices[i]!, options[j]!) *
            Math.exp(mean + latencyK * Math.sqrt(variance + slowdown.common.noise))
        }
        expected = {
          loadBps: load.map((bps, s) => bps + reserved.bps[s]!),
          capacityBps: expectedBps,
          powerW: power + reserved.watts,
        }
        return next
      },
    }
  }
