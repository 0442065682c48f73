import type { PolicySummary } from '@espalier/controller/sim/summarise'
import type { PolicyBar } from './plot-policies.ts'

export const barsOf = (policies: readonly PolicySummary[]): PolicyBar[] =>
  policies.map(({ policy, utilityPct, siteViolations }) => ({
    policy,
    utilityPct: utilityPct.mean,
    halfWidth: utilityPct.halfWidth,
    siteViolations: siteViolations.mean,
  }))
