import { ConfigError } from '@espalier/shared/errors'
import { type Causes, learnCauses, startCauses } from '../estimate/causes.ts'
import { EPOCH_S, type SimDevice, type SimFleet, type SimOption } from '../sim/fleet.ts'
import type { MakePolicy } from '../sim/policy.ts'
import type { World } from '../sim/world.ts'
import type { Trace, TraceOption, TraceReading } from './trace.ts'

type Slot = Trace['header']['slots'][number]

const prior: Causes = startCauses({
  bits: { mean: 0, variance: 0.25, noise: 0.01 },
  latency: { mean: 0, variance: 0.25, noise: 0.01 },
  energy: { mean: 0, variance: 0.25, noise: 0.02 },
  quality: { mean: 0, variance: 4, noise: 1 },
})

/** A budget that was not set carries what everybody's best takes, and this much more. */
const AMPLE = 1.1

/** What a device was like in each epoch, relative to its cards: logarithms, and decibels. */
interface Course {
  readonly bits: Float64Array
  readonly latency: Float64Array
  readonly energy: Float64Array
  readonly qualityDb: Float64Array
  /** How configurations deviate from that, by id and graph. */
  readonly learned: Causes
}

/** Epochs without a value take the last one before, or else the first one. */
function fill(values: readonly (number | undefined)[]): Float64Array {
  let last = values.find((v) => v !== undefined) ?? 0
  return Float64Array.from(values, (v) => {
    last = v ?? last
    return last
  })
}

const keysOf = ({ id, graph }: TraceOption) => ({ work: graph, stream: id })

function ratios(reading: TraceReading, option: TraceOption) {
  const { bitsPerFrame, latencyS, joulesPerFrame, psnrDb } = reading
  return {
    bits: bitsPerFrame && bitsPerFrame / option.bitsPerFrame,
    latency: latencyS && latencyS / option.latencyS,
    energy: joulesPerFrame && joulesPerFrame / option.joulesPerFrame,
    qualityDb: psnrDb === undefined ? undefined : psnrDb - option.psnrDb,
  }
}

function courseOf(slot: Slot, readings: readonly (TraceReading | undefined)[]): Course {
  const byId = new Map(slot.options.map((option) => [option.id, option]))
  const found = readings.map((reading) => {
    const option = reading && byId.get(reading.configuration)
    return option && { option, ratios: ratios(reading, option) }
  })
  const learned = found.reduce(
    (causes, each) => (each === undefined ? causes : learnCauses(causes, each.ratios, keysOf(each.option))),
    prior,
  )
  // What is particular to a configuration is taken off, so that the rest holds for all of them.
  const course = (cause: 'bits' | 'latency' | 'energy', key: 'work' | 'stream') =>
    fill(
      found.map((each) => {
        const ratio = each?.ratios[cause]
        if (ratio === undefined || !(ratio > 0)) return undefined
        return Math.log(ratio) - (learned[cause].residuals[keysOf(each!.option)[key]]?.mean ?? 0)
      }),
    )
  return {
    bits: course('bits', 'stream'),
    latency: course('latency', 'work'),
    energy: course('energy', 'work'),
    qualityDb: fill(found.map((each) => each?.ratios.qualityDb)),
    learned,
  }
}

function requireOneShape({ slots, epochS }: Trace['header']): void {
  if (epochS !== EPOCH_S) throw new ConfigError(`Cannot replay epochs of ${epochS} s: expected ${EPOCH_S} s`)
  const shape = ({ options, sourceFrameRate }: Slot) =>
    JSON.stringify([sourceFrameRate, options.map(({ id, bitsPerFrame, psnrDb }) => [id, bitsPerFrame, psnrDb])])
  const other = slots.find((slot) => shape(slot) !== shape(slots[0]!))
  if (other !== undefined)
    throw new ConfigError(
      `Cannot replay "${slots[0]!.key}" and "${other.key}" together: found different families or sources, expected one; export them apart with --device`,
    )
}

/**
 * A recorded fleet as a world that policies can be played in. What a slot would have cost under another configuration is the
 * card's figure times what the device was like in that epoch (measured / card of what ran), times what the configuration
 * deviates where it ever ran.
 *
 * @throws {ConfigError} If slots differ in family or source: policies choose from one list.
 */
export function traceWorld({ header, epochs: lines }: Trace): { world: World; recorded: MakePolicy } {
  requireOneShape(header)
  const { slots } = header
  const epochs = lines.at(-1)!.epoch + 1
  const lineOf = new Map(lines.map((line) => [line.epoch, line]))
  const at = Array.from({ length: epochs }, (_, t) => lineOf.get(t))
  const readings = slots.map(({ key }) => at.map((line) => line?.slots[key]))
  const courses = slots.map((slot, i) => courseOf(slot, readings[i]!))

  const graphs = [...new Set(slots[0]!.options.map(({ graph }) => graph))]
  const options = slots[0]!.options.map(
    ({ id, graph, bitsPerFrame, psnrDb, frameRate }): SimOption => ({
      id,
      model: graphs.indexOf(graph),
      bitsPerFrame,
      psnrDb,
      frameRate,
      rateShare: Math.min(1, frameRate / slots[0]!.sourceFrameRate),
    }),
  )
  const cardOf = (slot: Slot, graph: string) => slot.options.find((option) => option.graph === graph)!
  const siteIds = [...new Set(slots.map(({ site }) => site))]
  const devices = slots.map((slot): SimDevice => {
    const cards = graphs.map((graph) => cardOf(slot, graph))
    return {
      id: slot.key,
      site: siteIds.indexOf(slot.site),
      weight: slot.weight,
      class: {
        name: slot.deviceClass,
        latencyS: cards.map(({ latencyS }) => latencyS),
        joules: cards.map(({ joulesPerFrame }) => joulesPerFrame),
        busyW: Math.max(...cards.map(({ latencyS, joulesPerFrame }) => joulesPerFrame / latencyS)),
      },
    }
  })
  const base = readings.flat().flatMap((reading) => reading?.baseW ?? [])
  const idleW = base.length === 0 ? 0 : base.reduce((a, b) => a + b, 0) / base.length

  const deviation = (i: number, j: number, cause: 'bits' | 'latency' | 'energy') => {
    const { work, stream } = keysOf(slots[i]!.options[j]!)
    return courses[i]!.learned[cause].residuals[cause === 'bits' ? stream : work]?.mean ?? 0
  }
  const factor = (cause: 'bits' | 'latency' | 'energy', t: number, i: number, j: number) =>
    Math.exp(courses[i]![cause][t]! + deviation(i, j, cause))
  const latencyS = (t: number, i: number, j: number) => slots[i]!.options[j]!.latencyS * factor('latency', t, i, j)
  const rateBps = (t: number, i: number, j: number) => {
    const option = slots[i]!.options[j]!
    return option.bitsPerFrame * option.frameRate * factor('bits', t, i, j)
  }
  const powerW = (t: number, i: number, j: number) => {
    const { joulesPerFrame, frameRate } = slots[i]!.options[j]!
    const joules = joulesPerFrame * factor('energy', t, i, j)
    // A device that is always busy does no more frames than fit.
    return idleW + joules * Math.min(frameRate, 1 / latencyS(t, i, j))
  }

  const every = options.map((_, j) => j)
  const most = (of: (t: number, i: number, j: number) => number, members: readonly number[]) => {
    const sums = at.map((_, t) => members.reduce((sum, i) => sum + Math.max(...every.map((j) => of(t, i, j))), 0))
    return AMPLE * Math.max(...sums)
  }
  const budgetAt = (key: string, unit: 'rateBps' | 'powerW', without: number) =>
    fill(at.map((line) => (line === undefined ? undefined : (line.budgets[key]?.[unit] ?? without))))
  const members = siteIds.map((_, s) => devices.flatMap(({ site }, i) => (site === s ? [i] : [])))
  const capacity = siteIds.map((id, s) => budgetAt(`site:${id}`, 'rateBps', most(rateBps, members[s]!)))
  // One cap for the whole run: policies are told one. The least that was set holds throughout.
  const power = budgetAt('fleet', 'powerW', most(powerW, [...devices.keys()]))
  const fleet: SimFleet = {
    options,
    devices,
    sites: siteIds.map((id, s) => ({ id, nominalBps: capacity[s]![0]!, members: members[s]! })),
    powerCapW: Math.min(...power),
    idleW,
  }
  const world: World = {
    fleet,
    epochs,
    link: (t, i) => (readings[i]![t] === undefined ? 'down' : 'up'),
    capacityBps: (t, s) => capacity[s]![t]!,
    latencyS,
    rateBps,
    powerW,
    psnrDb: (t, i, j) => slots[i]!.options[j]!.psnrDb + courses[i]!.qualityDb[t]!,
    isSkewed: devices.map(() => false),
  }
  const indexOf = new Map(options.map(({ id }, j) => [id, j]))
  const recorded: MakePolicy = () => ({
    decide: ({ epoch, planned }) => planned.map((j, i) => indexOf.get(readings[i]![epoch]?.configuration ?? '') ?? j),
  })
  return { world, recorded }
}
