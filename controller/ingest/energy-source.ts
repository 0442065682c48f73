import type { Telemetry } from '@espalier/shared/messages/device'

type Energy = Telemetry['energy'][number]

const WIDEST_FIRST: readonly Energy['scope'][] = ['wall', 'board', 'module', 'modelled']

/** The source that speaks for the whole device: the widest one that is measured. Undefined if there is none. */
export function primaryEnergy(energy: Telemetry['energy']): Energy | undefined {
  return [...energy].sort((a, b) => WIDEST_FIRST.indexOf(a.scope) - WIDEST_FIRST.indexOf(b.scope))[0]
}
