import { expect, test } from 'vitest'
import { foldTable, kilo, rankingTable, skipTable, table } from '../../../cli/commands/forge-tables.ts'

test('table() aligns columns, the first and the unnamed last to the left', () => {
  expect(
    table(
      ['name', 'n', ''],
      [
        ['a', '1', 'x'],
        ['long name', '100', 'longer'],
      ],
    ),
  ).toEqual(['name         n', 'a            1  x', 'long name  100  longer'])
})

test('kilo() keeps three digits or so', () => {
  expect([0, 999, 1234, 9876543].map(kilo)).toEqual(['0', '999', '1.2 k', '9.88 M'])
})

test('foldTable() names what became one and what it multiplies, and what stays apart and why', () => {
  const fused = {
    nodes: ['Conv "a"', 'Conv "b"'],
    into: 'Conv "b"',
    macsBefore: 2000,
    macsAfter: 1500,
    hasBorderMap: false,
    hasBorderStrips: true,
  }
  const refused = [{ nodes: ['Conv "c"', 'Conv "d"'], reason: 'one would multiply more: 1 -> 2' }]
  expect(foldTable({ removed: ['LeakyRelu "e"'], fused: [fused], refused })).toEqual([
    'rows that one operator can do: 1',
    expect.stringMatching(/^row +MACs +as one +change$/),
    expect.stringMatching(/^Conv "a" \+ Conv "b" +2.0 k +1.5 k +-25.0 % +border strips$/),
    'operators that do nothing: LeakyRelu "e"',
    'pairs that stay apart: 1',
    '  Conv "c" + Conv "d": one would multiply more: 1 -> 2',
  ])
  expect(foldTable({ removed: [], fused: [], refused: [] })).toEqual(['rows that one operator can do: 0'])
})

test('rankingTable() says why a rectifier has no score', () => {
  const base = { kind: 'Relu' as const, channels: 8, on: 5, off: 3 }
  const rows = rankingTable(
    [
      { ...base, name: 'a', score: 0.25, reason: undefined },
      { ...base, name: 'b', score: null, reason: 'no data' },
    ],
    'tlc',
  )
  expect(rows[1]).toMatch(/^a +Relu +8 +5 +3 +0\.2500$/)
  expect(rows[2]).toMatch(/^b +Relu +8 +no data$/)
})

test('skipTable() says what became of each block', () => {
  const block = (name: string) => ({ name, input: 'x', output: 'y', maxDistance: 0.5, meanDistance: 0.25 })
  const steps = [
    { block: 'a', harm: 0.5, loss: 1.25, isKept: true },
    { block: 'b', harm: 9, loss: null, isKept: false },
  ]
  const rows = skipTable({ blocks: ['a', 'b', 'c'].map(block), steps })
  expect(rows[1]).toMatch(/^a +0\.5000 +0\.2500 +0\.50 +1\.2500 +taken out$/)
  expect(rows[2]).toMatch(/^b .* 9\.00 +put back$/)
  expect(rows[3]).toMatch(/not tried$/)
})
