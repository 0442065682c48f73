import type { FleetColumns } from '@espalier/controller/solver/columns'

/** HiGHS reads lines of at most 560 characters. */
const TERMS_PER_LINE = 12

function wrap(terms: readonly string[]): string {
  const lines: string[] = []
  for (let i = 0; i < terms.length; i += TERMS_PER_LINE) lines.push(terms.slice(i, i + TERMS_PER_LINE).join(' '))
  return lines.join('\n ')
}

/** The fleet as a linear program in CPLEX's LP format: what the planner solves, for a solver that knows nothing of it. */
export function formatLp(fleet: FleetColumns, isInteger: boolean): string {
  const { siteOf, start, limits, carbonGPerKwh } = fleet
  const names: string[] = []
  const one: string[] = []
  const objective: string[] = []
  const power: string[] = []
  const carbon: string[] = []
  const sites: string[][] = Array.from(limits.siteRateBps, () => [])
  const gateways: string[][] = Array.from(limits.gatewayRateBps, () => [])
  for (let i = 0; i < siteOf.length; i++) {
    const mine: string[] = []
    const gateway = limits.gatewayOf[siteOf[i]!]!
    for (let at = start[i]!; at < start[i + 1]!; at++) {
      const name = `x${at}`
      names.push(name)
      mine.push(`+ ${name}`)
      objective.push(`+ ${fleet.utility[at]} ${name}`)
      power.push(`+ ${fleet.powerMw[at]} ${name}`)
      carbon.push(`+ ${fleet.powerMw[at]! * (carbonGPerKwh?.[i] ?? 0)} ${name}`)
      sites[siteOf[i]!]!.push(`+ ${fleet.rateBps[at]} ${name}`)
      if (gateway >= 0) gateways[gateway]!.push(`+ ${fleet.rateBps[at]} ${name}`)
    }
    one.push(` one${i}: ${wrap(mine)} = 1`)
  }
  const row = (name: string, terms: readonly string[], limit: number): string[] =>
    Number.isFinite(limit) && terms.length > 0 ? [` ${name}: ${wrap(terms)} <= ${limit}`] : []
  const rows = [
    ...one,
    ...sites.flatMap((terms, s) => row(`site${s}`, terms, limits.siteRateBps[s]!)),
    ...gateways.flatMap((terms, g) => row(`gateway${g}`, terms, limits.gatewayRateBps[g]!)),
    ...row('power', power, limits.powerMw),
    ...row('carbon', carbon, limits.carbonUgPerH),
  ]
  const domain = isInteger ? `Binary\n ${wrap(names)}` : `Bounds\n ${names.map((n) => `0 <= ${n} <= 1`).join('\n ')}`
  return `Maximize\n obj: ${wrap(objective)}\nSubject To\n${rows.join('\n')}\n${domain}\nEnd`
}
