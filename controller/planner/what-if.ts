import { carbonOf } from '../plan/limits.ts'
import type { Option, SlotInput } from '../plan/option.ts'
import type { Choices, Plan } from '../plan/plan-fleet.ts'
import type { Prepared } from '../plan/prepare.ts'
import { type Quality, qualityChange, shownQuality } from '../plan/quality.ts'

/** The latest plan, and what the same inputs would give under other budgets. */
export interface WhatIfAnswer {
  readonly now: Plan
  readonly after: Choices
  /** Of both, in the same order; their places are those of `after`. */
  readonly slots: readonly Prepared[]
}

const sideOf = ({ id, merit, prediction }: Option) => ({
  configurationId: id,
  utility: merit,
  rateBps: prediction.rateBps,
  powerW: prediction.powerW,
  latencyMs: prediction.latencyS * 1000,
  ...shownQuality(prediction),
})

/** By task: decibels and accuracy have no common mean. @returns Of those that have one; absent: none has. */
function meanQuality(of: readonly { readonly quality: Quality; readonly weight: number }[]): Quality {
  const mean = (figure: 'psnrDb' | 'accuracyPct') => {
    let [sum, weights] = [0, 0]
    for (const { quality, weight } of of) {
      if (quality[figure] === undefined) continue
      sum += weight * quality[figure]
      weights += weight
    }
    return weights > 0 ? { [figure]: sum / weights } : {}
  }
  return { ...mean('psnrDb'), ...mean('accuracyPct') }
}

function totalsOf(
  { value, bound, integerBound, gap }: Omit<Choices, 'chosen'>,
  chosen: readonly Option[],
  inputs: readonly SlotInput[],
) {
  let [rateBps, powerW, carbonGPerH] = [0, 0, 0]
  for (const [i, { prediction }] of chosen.entries()) {
    rateBps += prediction.rateBps
    powerW += prediction.powerW
    carbonGPerH += (prediction.powerW * carbonOf(inputs[i]!)) / 1000
  }
  const mean = meanQuality(
    chosen.map(({ prediction }, i) => ({ quality: prediction, weight: inputs[i]!.birth.weight })),
  )
  return { value, bound, integerBound, gap, rateBps, powerW, carbonGPerH, ...mean }
}

function listRows(now: Plan['rows'], after: Plan['rows']) {
  const before = new Map(now.map((row) => [row.key, row]))
  const then = new Map(after.map((row) => [row.key, row]))
  return [...new Set([...before.keys(), ...then.keys()])].map((key) => {
    const [a, b] = [before.get(key), then.get(key)]
    return {
      key,
      unit: (a ?? b)!.unit,
      ...(a === undefined ? {} : { now: a }),
      ...(b === undefined ? {} : { after: b }),
    }
  })
}

interface Change {
  readonly i: number
  /** after - now. */
  readonly utility: number
}

/**
 * Compare two plans of the same slots.
 *
 * @param limit So many slots are listed, those that gain or lose most utility first.
 */
export function comparePlans({ now, after, slots }: WhatIfAnswer, limit: number) {
  const before = now.slots.map(({ chosen }) => chosen)
  const sites = new Map<
    string,
    { slots: number; changed: number; utility: number; rateBps: number; powerW: number; qualities: Quality[] }
  >()
  const changes: Change[] = []
  for (const [i, { input }] of slots.entries()) {
    const [a, b] = [before[i]!, after.chosen[i]!]
    const site = sites.get(input.site) ?? { slots: 0, changed: 0, utility: 0, rateBps: 0, powerW: 0, qualities: [] }
    sites.set(input.site, site)
    site.slots++
    site.qualities.push(qualityChange(b.prediction, a.prediction))
    if (a.id === b.id) continue
    changes.push({ i, utility: b.merit - a.merit })
    site.changed++
    site.utility += b.merit - a.merit
    site.rateBps += b.prediction.rateBps - a.prediction.rateBps
    site.powerW += b.prediction.powerW - a.prediction.powerW
  }
  const present = new Set(now.alarms.map(({ kind, subject }) => `${kind} ${subject}`))
  return {
    now: totalsOf(
      now,
      before,
      now.slots.map(({ input }) => input),
    ),
    after: totalsOf(
      after,
      after.chosen,
      slots.map(({ input }) => input),
    ),
    rows: listRows(now.rows, after.rows),
    slots: { total: slots.length, changed: changes.length },
    sites: [...sites].map(([site, { qualities, ...sums }]) => ({
      site,
      ...sums,
      ...meanQuality(qualities.map((quality) => ({ quality, weight: 1 }))),
    })),
    changes: changes
      .toSorted((a, b) => Math.abs(b.utility) - Math.abs(a.utility) || a.i - b.i)
      .slice(0, limit)
      .map(({ i, utility }) => {
        const { key, site } = slots[i]!.input
        const [device, slot] = key.split('/') as [string, string]
        const [from, to] = [sideOf(before[i]!), sideOf(after.chosen[i]!)]
        return {
          device,
          slot,
          site,
          now: from,
          after: to,
          utility,
          rateBps: to.rateBps - from.rateBps,
          powerW: to.powerW - from.powerW,
          ...qualityChange(to, from),
        }
      }),
    alarms: after.alarms.map((alarm) => ({ ...alarm, isNew: !present.has(`${alarm.kind} ${alarm.subject}`) })),
  }
}
