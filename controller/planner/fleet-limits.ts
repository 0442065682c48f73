import type { GatewayLimit, Limit, PlanLimits } from '../plan/limits.ts'
import type { Budget } from '../store/budgets.ts'

export type Budgets = ReadonlyMap<string, Budget>

/** What somebody who is not planned may use. */
export interface Holder {
  readonly site: string | undefined
  readonly rateBps: number
  readonly powerW: number
}

/** What the budgets say of a slot's place. */
export interface SlotFacts {
  readonly gateway?: string
  readonly carbonGPerKwh?: number
  readonly maxPowerW?: number
}

/** @param slots So many share what their device may draw, in equal parts. */
export function slotFacts(budgets: Budgets, device: string, site: string, slots: number): SlotFacts {
  const { gateway, carbonGPerKwh } = budgets.get(`site:${site}`) ?? {}
  const { powerW } = budgets.get(`device:${device}`) ?? {}
  return {
    ...(gateway === undefined ? {} : { gateway }),
    ...(carbonGPerKwh === undefined ? {} : { carbonGPerKwh: Math.round(carbonGPerKwh) }),
    ...(powerW === undefined ? {} : { maxPowerW: powerW / slots }),
  }
}

/** Every limit in the planner's integers, and what of it is held. @param marginOf By key: `site:`, `gateway:`, `power`, `carbon`. */
export function makeLimits(
  budgets: Budgets,
  holders: readonly Holder[],
  marginOf: (key: string) => number,
): PlanLimits {
  const idsOf = (kind: string) =>
    [...budgets.keys()].filter((key) => key.startsWith(`${kind}:`)).map((key) => key.split(':')[1]!)
  const sites = new Map<string, Limit>()
  const gateways = new Map<string, GatewayLimit>()
  const held = (of: (holder: Holder) => number) => Math.ceil(holders.reduce((sum, holder) => sum + of(holder), 0))
  const gatewayOf = (site: string | undefined) =>
    site === undefined ? undefined : budgets.get(`site:${site}`)?.gateway
  const gramsOf = (site: string | undefined) => Math.round(budgets.get(`site:${site}`)?.carbonGPerKwh ?? 0)
  for (const site of idsOf('site')) {
    const { rateBps } = budgets.get(`site:${site}`)!
    if (rateBps === undefined) continue
    const reserved = held((h) => (h.site === site ? h.rateBps : 0))
    sites.set(site, { total: Math.floor(rateBps), reserved, marginShare: marginOf(`site:${site}`) })
  }
  for (const gateway of idsOf('gateway')) {
    const { rateBps } = budgets.get(`gateway:${gateway}`)!
    if (rateBps === undefined) continue
    gateways.set(gateway, {
      total: Math.floor(rateBps),
      reserved: held((h) => (gatewayOf(h.site) === gateway ? h.rateBps : 0)),
      marginShare: marginOf(`gateway:${gateway}`),
      sites: idsOf('site').filter((site) => gatewayOf(site) === gateway),
    })
  }
  const { powerW, carbonGPerH } = budgets.get('fleet') ?? {}
  return {
    sites,
    gateways,
    power:
      powerW === undefined
        ? undefined
        : { total: Math.floor(powerW * 1000), reserved: held((h) => h.powerW * 1000), marginShare: marginOf('power') },
    carbon:
      carbonGPerH === undefined
        ? undefined
        : {
            total: Math.floor(carbonGPerH * 1e6),
            reserved: held((h) => h.powerW * 1000 * gramsOf(h.site)),
            marginShare: marginOf('carbon'),
          },
  }
}
