import type { RankedRectifier } from '@espalier/forge/passes/collapse'
import type { FoldReport } from '@espalier/forge/passes/fold'
import type { SkipReport } from '@espalier/forge/passes/skip'

/** Rows of text in columns; the first to the left, and the last where it has no header, all others to the right. Pure. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const all = [header, ...rows]
  const widths = header.map((_, i) => Math.max(...all.map((row) => (row[i] ?? '').length)))
  return all.map((row) =>
    row
      .map((cell, i) => (i === 0 || header[i] === '' ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  )
}

/** 1234567 as `1.23 M`. */
export const kilo = (value: number): string =>
  value >= 1e6 ? `${(value / 1e6).toFixed(2)} M` : value >= 1e3 ? `${(value / 1e3).toFixed(1)} k` : `${value}`

const change = (before: number, after: number): string =>
  before === 0 ? '' : `${(((after - before) / before) * 100).toFixed(1)} %`

/** What was fused, and what was not and why. */
export function foldTable({ removed, fused, refused }: FoldReport): string[] {
  const extra = ({ hasBorderMap, hasBorderStrips }: FoldReport['fused'][number]): string =>
    hasBorderMap ? 'border map' : hasBorderStrips ? 'border strips' : ''
  return [
    `rows that one operator can do: ${fused.length}`,
    ...table(
      ['row', 'MACs', 'as one', 'change', ''],
      fused.map((each) => [
        each.nodes.join(' + '),
        kilo(each.macsBefore),
        kilo(each.macsAfter),
        change(each.macsBefore, each.macsAfter),
        extra(each),
      ]),
    ).slice(fused.length === 0 ? 1 : 0),
    ...(removed.length === 0 ? [] : [`operators that do nothing: ${removed.join(', ')}`]),
    ...(refused.length === 0 ? [] : [`pairs that stay apart: ${refused.length}`]),
    ...refused.map(({ nodes, reason }) => `  ${nodes.join(' + ')}: ${reason}`),
  ]
}

/** Non-linearities, the one that would be missed least first. */
export function rankingTable(ranking: readonly RankedRectifier[], method: string): string[] {
  return table(
    ['rectifier', 'kind', 'channels', 'on', 'off', `${method} score`, ''],
    ranking.map(({ name, kind, channels, on, off, score, reason }) => [
      name,
      kind,
      `${channels}`,
      score === null ? '' : `${on}`,
      score === null ? '' : `${off}`,
      score === null ? '' : score.toFixed(4),
      reason ?? '',
    ]),
  )
}

/** Blocks in the order in which they were tried, and what came of it. */
export function skipTable({ blocks, steps }: SkipReport): string[] {
  return table(
    ['block', 'max distance', 'mean', 'harm', 'loss', ''],
    blocks.map(({ name, maxDistance, meanDistance }) => {
      const step = steps.find(({ block }) => block === name)
      return [
        name,
        maxDistance.toFixed(4),
        meanDistance.toFixed(4),
        step?.harm.toFixed(2) ?? '',
        step?.loss?.toFixed(4) ?? '',
        step === undefined ? 'not tried' : step.isKept ? 'taken out' : 'put back',
      ]
    }),
  )
}
