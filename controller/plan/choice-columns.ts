import type { OptionColumns } from '../solver/frontier.ts'
import type { Choice } from './problem.ts'

/** What the solver looks at of choices, as columns in their order. */
export function columnsOf(choices: readonly Pick<Choice, 'rateBps' | 'powerMw' | 'utility'>[]): OptionColumns {
  const count = choices.length
  const columns = {
    rateBps: new Float64Array(count),
    powerMw: new Float64Array(count),
    utility: new Float64Array(count),
  }
  for (let i = 0; i < count; i++) {
    const { rateBps, powerMw, utility } = choices[i]!
    columns.rateBps[i] = rateBps
    columns.powerMw[i] = powerMw
    columns.utility[i] = utility
  }
  return columns
}
