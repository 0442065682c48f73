import { chooseByPrice } from '@espalier/shared/ladder/choose-by-price'
import { z } from 'zod'
import type { SlotBirth } from './catalogue.ts'
import { type Option, utilityPerDb } from './option.ts'

/** Why a slot runs what it runs. */
export const explanationSchema = z.object({
  chosen: z.string(),
  /** Why it runs though the plan would choose `runnerUp`: a configuration that never ran is tried. */
  probe: z.string().optional(),
  /** What the same prices would choose if the chosen were not there. */
  runnerUp: z.string().optional(),
  /** What keeps the slot from its best configuration: `uplink site:<id>`, `power fleet`, `deadline`, `floor` or `none`. */
  binding: z.string(),
  /** All that has a price here, the one above first; absent in decisions from before it was kept. */
  bindings: z.array(z.string()).optional(),
  /** Utility per bit/s of the site, and per watt of the fleet. */
  lambda: z.number(),
  mu: z.number(),
  /** What more of the binding constraint would be worth, for people. */
  price: z.string(),
  predicted: z.object({ rateBps: z.number(), powerW: z.number(), latencyMs: z.number(), psnrDb: z.number() }),
  /** Utility of the whole plan: what it has, what no plan can exceed, and the relative difference. */
  plan: z.object({ value: z.number(), bound: z.number(), gap: z.number() }),
})
export type Explanation = z.infer<typeof explanationSchema>

export interface Prices {
  /** Micro-utility per bit/s. */
  readonly lambda: number
  /** Micro-utility per milliwatt. */
  readonly mu: number
}

export interface Room {
  /** What the site's plan leaves, bit/s; infinite without a limit. */
  readonly slackBps: number
  readonly slackMw: number
}

const best = (options: readonly Option[], worth: (o: Option) => number): Option | undefined =>
  options.reduce<Option | undefined>((top, o) => (top === undefined || worth(o) > worth(top) ? o : top), undefined)

/** Compare the chosen option with the best one that nothing but the limits forbids. */
function findBinding(
  site: string,
  chosen: Option,
  options: readonly Option[],
  allowed: readonly Option[],
  { lambda, mu }: Prices,
  room: Room,
): string {
  const wanted = best(allowed, (o) => o.utility)!
  if (wanted.utility > chosen.utility) {
    const rate = Math.max(0, wanted.rateBps - chosen.rateBps)
    const power = Math.max(0, wanted.powerMw - chosen.powerMw)
    const [rateCost, powerCost] = [lambda * rate, mu * power]
    if (rateCost > 0 || powerCost > 0) return rateCost >= powerCost ? `uplink site:${site}` : 'power fleet'
    // Without prices only the last step of an integer plan can be missing.
    if (rate > room.slackBps) return `uplink site:${site}`
    if (power > room.slackMw) return 'power fleet'
  }
  const refused = options.filter((o) => o.merit > chosen.merit)
  if (refused.some((o) => o.meetsFloor && !o.meetsDeadline)) return 'deadline'
  if (options.every((o) => !o.meetsFloor)) return 'floor'
  return 'none'
}

function listBindings(site: string, binding: string, { lambda, mu }: Prices): string[] {
  const priced = [...(lambda > 0 ? [`uplink site:${site}`] : []), ...(mu > 0 ? ['power fleet'] : [])]
  return binding === 'none' ? [] : [...new Set([binding, ...priced])]
}

function describePrice(binding: string, chosen: Option, slot: SlotBirth, { lambda, mu }: Prices): string {
  const perDb = utilityPerDb(chosen.prediction.psnrDb, chosen.configuration.frameRate, slot)
  const worth = (utility: number) =>
    perDb > 0
      ? `${utility.toPrecision(2)} utility, about ${(utility / perDb).toFixed(2)} dB here`
      : `${utility.toPrecision(2)} utility`
  const isUplink = binding.startsWith('uplink')
  if (isUplink || binding === 'power fleet') {
    const name = isUplink ? binding.slice(7) : 'the fleet'
    // Below its cheapest plan, or within one step of its best, a budget has no price.
    if ((isUplink ? lambda : mu) === 0) return `more for ${name} would allow a better configuration`
    return isUplink
      ? `1 kbit/s more on ${name} is worth ${worth((lambda * 1000) / 1e6)}`
      : `100 mW more for ${name} is worth ${worth((mu * 100) / 1e6)}`
  }
  if (binding === 'deadline') return 'a faster device could run a better configuration; no budget is in the way'
  return 'nothing that is shared is scarce here'
}

export function explain(
  slot: { readonly site: string; readonly birth: SlotBirth },
  chosen: Option,
  options: readonly Option[],
  allowed: readonly Option[],
  prices: Prices,
  room: Room,
  plan: Explanation['plan'],
): Explanation {
  const others = allowed.filter(({ id }) => id !== chosen.id)
  const runnerUp = others.length === 0 ? undefined : chooseByPrice(others, prices)
  const binding = findBinding(slot.site, chosen, options, allowed, prices, room)
  const { rateBps, powerW, latencyS, psnrDb } = chosen.prediction
  return {
    chosen: chosen.id,
    ...(runnerUp === undefined ? {} : { runnerUp: runnerUp.id }),
    binding,
    bindings: listBindings(slot.site, binding, prices),
    lambda: prices.lambda / 1e6,
    mu: prices.mu / 1e3,
    price: describePrice(binding, chosen, slot.birth, prices),
    predicted: { rateBps, powerW, latencyMs: latencyS * 1000, psnrDb },
    plan,
  }
}
