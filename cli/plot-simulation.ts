import type { PolicySummary } from '@espalier/controller/sim/summarise'

const [WIDTH, ROW, LEFT, BAR] = [760, 30, 130, 420]
const INK = '#808080'

/** Utility of each policy as bars with 95 % intervals, and how often it broke an uplink: SVG text. */
export function plotSimulation(policies: readonly PolicySummary[]): string {
  const height = 60 + policies.length * ROW
  const x = (pct: number): number => LEFT + (Math.min(100, pct) / 100) * BAR
  const rows = policies.map(({ policy, utilityPct, siteViolations }, k) => {
    const y = 40 + k * ROW
    const { mean, halfWidth = 0 } = utilityPct
    return [
      `<text x="${LEFT - 8}" y="${y + 15}" text-anchor="end">${policy}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${(x(mean) - LEFT).toFixed(1)}" height="20" fill="${policy === 'ours' ? '#0072b2' : '#56b4e9'}"/>`,
      `<path d="M${x(mean - halfWidth).toFixed(1)} ${y + 10}H${x(mean + halfWidth).toFixed(1)}" stroke="#d55e00" stroke-width="3"/>`,
      `<text x="${LEFT + BAR + 8}" y="${y + 15}">${mean.toFixed(1)} %, uplinks broken ${(100 * siteViolations.mean).toFixed(2)} %</text>`,
    ].join('')
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12" fill="${INK}">`,
    '<text x="20" y="20" font-size="15">Utility, % of the clairvoyant with free changes</text>',
    ...rows,
    '</svg>\n',
  ].join('\n')
}
