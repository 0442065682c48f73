import type { Telemetry } from '@espalier/shared/messages/device'

type Energy = Telemetry['energy'][number]

const WIDEST_FIRST: readonly Energy['scope'][] = ['wall', 'board', 'module', 'modelled']

/** The source that is named beside a device's joules: the widest one that is measured. Undefined if there is none. */
export function primaryEnergy(energy: Telemetry['energy']): Energy | undefined {
  return [...energy].sort((a, b) => WIDEST_FIRST.indexOf(a.scope) - WIDEST_FIRST.indexOf(b.scope))[0]
}

/**
 * Joules of a whole device, of all its sources together: an agent books every moment to one of them, and to its model what no
 * sensor saw. Undefined if it named none.
 */
export function energyOf(
  energy: Telemetry['energy'],
): { readonly joules: number; readonly idleJoules: number } | undefined {
  if (energy.length === 0) return undefined
  const sum = (field: 'joules' | 'idleJoules'): number => energy.reduce((total, source) => total + source[field], 0)
  return { joules: sum('joules'), idleJoules: sum('idleJoules') }
}
