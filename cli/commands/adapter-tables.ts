import type { ConvertReport } from '@espalier/forge/adapter/convert'
import type { ExtractReport } from '@espalier/forge/adapter/extract'
import type { SlicedAdapter } from '@espalier/forge/adapter/slice'
import type { TruncatedPair } from '@espalier/forge/adapter/truncate'
import { table } from './forge-tables.ts'

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`

/** Which pair went to which weight, and what matched nothing. */
export const convertTable = ({ matched, unmatched }: ConvertReport): string[] => [
  ...table(
    ['weight', 'rank', 'scale', 'of module'],
    matched.map(({ module, weight, rank, scale }) => [weight, `${rank}`, scale.toPrecision(3), module]),
  ),
  ...unmatched.map(({ name, reason }) => `left out: "${name}" ${reason}`),
]

/** How much each weight changed and how much of that its pair has not; then what no pair can carry. */
export const extractTable = ({ layers, unchanged, uncarried }: ExtractReport): string[] => [
  ...table(
    ['weight', 'rank', 'change', 'of it lost'],
    layers.map(({ weight, rank, change, lost }) => [weight, `${rank}`, percent(change), percent(lost)]),
  ),
  `${unchanged} weights are alike`,
  ...uncarried.map(({ name, change }) => `not carried: "${name}", which changed by ${percent(change)}`),
]

export const truncateTable = (rows: readonly TruncatedPair[]): string[] =>
  table(
    ['weight', 'rank', 'now', 'energy left'],
    rows.map(({ weight, before, after, energy }) => [weight, `${before}`, `${after}`, percent(energy)]),
  )

export const sliceTable = (rows: readonly SlicedAdapter[]): string[] =>
  table(
    ['adapter', 'kind', 'neurons', 'now'],
    rows.map(({ name, kind, before, after }) => [name, kind, `${before}`, after === 0 ? 'gone' : `${after}`]),
  )
