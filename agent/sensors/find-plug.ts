import { StoreError } from '@espalier/shared/errors'
import type { Candidate, Finding } from './candidate.ts'
import type { Plug } from './plug.ts'
import { refuse } from './refuse.ts'

const PERIOD_MS = 1000
/** Cheap plugs are poor below ten watts, where small boards are. */
const UNCERTAINTY = 0.05
const UNCERTAINTY_W = 0.5

/** The plug that the operator says this device hangs on: where it counts, what it counts; else its watts. */
export async function findPlug(plug: Plug): Promise<Finding> {
  const { kind } = plug.settings
  const name = `plug:${kind}`
  try {
    const first = await plug.read()
    const source = { source: name, rail: 'wall', scope: 'wall' } as const
    const common = { uncertainty: UNCERTAINTY, uncertaintyW: UNCERTAINTY_W, periodMs: PERIOD_MS, isRemote: true }
    const readJoules = async (): Promise<number[]> => {
      const { joules } = await plug.read()
      if (joules === undefined)
        throw new StoreError(`Cannot read plug "${plug.settings.url}": found no counter`, { retryable: true })
      return [joules]
    }
    const candidate: Candidate = {
      preference: 'plug',
      name,
      rails: ['wall'],
      watts: first.watts,
      notes: ['for totals over minutes: coarse steps, poor below 10 W'],
      measures:
        first.joules === undefined
          ? {
              kind: 'power',
              probe: {
                source: { ...source, method: 'integral' },
                ...common,
                read: async () => (await plug.read()).watts,
              },
            }
          : {
              kind: 'energy',
              probe: {
                source: { ...source, method: 'counter' },
                ...common,
                isLocal: false,
                rangesJ: [undefined],
                read: readJoules,
              },
            },
    }
    return { candidates: [candidate], refused: [] }
  } catch (error) {
    return { candidates: [], refused: [refuse(name, error)] }
  }
}
