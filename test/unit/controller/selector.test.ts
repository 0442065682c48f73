import { hoursSchema, isWithinHours } from '@espalier/controller/rollout/hours'
import { couldOverlap, matchesSelector, parseSelector } from '@espalier/controller/rollout/selector'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const matches = (text: string, labels: Record<string, string>) => matchesSelector(parseSelector(text), labels)

describe('a selector', () => {
  test('means what it means in Kubernetes', () => {
    const labels = { site: 'local', kind: 'cam', rack: '' }
    for (const text of [
      '',
      'site=local',
      'site==local,kind in (cam, kiosk)',
      '!lab',
      'kind',
      'kind!=kiosk',
      'lab!=x',
      'lab notin (a,b)',
    ])
      expect([text, matches(text, labels)]).toEqual([text, true])
    for (const text of ['site=b', 'kind in (kiosk)', '!kind', 'lab', 'kind notin (cam)', 'site=local,lab'])
      expect([text, matches(text, labels)]).toEqual([text, false])
    expect(matches('toString', {})).toBe(false)
  })

  test('that cannot be read is refused with what was found', () => {
    for (const text of ['site=', 'kind in cam', 'a b', ',', 'site=local,', 'kind in (a,)', '=x', '!'])
      expect(() => parseSelector(text)).toThrow(/^Cannot read selector/)
  })

  test('overlaps another exactly when some labels match both', () => {
    const key = fc.constantFrom('a', 'b')
    const value = fc.constantFrom('1', '2', '3')
    const requirement = fc.oneof(
      fc.record({
        kind: fc.constantFrom('in' as const, 'not-in' as const),
        key,
        values: fc.array(value, { minLength: 1 }),
      }),
      fc.record({ kind: fc.constantFrom('exists' as const, 'absent' as const), key }),
    )
    // A fourth value that no requirement names, and none at all.
    const values = [undefined, '1', '2', '3', '4']
    const all = values.flatMap((a) =>
      values.map((b) => ({ ...(a === undefined ? {} : { a }), ...(b === undefined ? {} : { b }) })),
    )
    fc.assert(
      fc.property(fc.array(requirement), fc.array(requirement), (x, y) => {
        const both = all.some((labels) => matchesSelector(x, labels) && matchesSelector(y, labels))
        expect(couldOverlap(x, y)).toBe(both)
        const withA = all.some((labels) => 'a' in labels && matchesSelector(x, labels) && matchesSelector(y, labels))
        expect(couldOverlap(x, y, ['a'])).toBe(withA)
      }),
      { seed: 1, numRuns: 500 },
    )
  })
})

describe('hours', () => {
  const at = (time: string) => Date.parse(time)

  test('are those of the site, over midnight and over a change to summer time', () => {
    const night = hoursSchema.parse({ from: '22:00', to: '05:00' })
    expect(isWithinHours(night, at('2026-11-29T21:30:00Z'), 'Europe/Berlin')).toBe(true)
    expect(isWithinHours(night, at('2026-11-29T21:30:00Z'), undefined)).toBe(false)
    expect(isWithinHours(night, at('2026-11-29T03:30:00Z'), 'Europe/Berlin')).toBe(true)
    expect(isWithinHours(night, at('2026-11-29T04:00:00Z'), 'Europe/Berlin')).toBe(false)
    // In summer the same hour in UTC is an hour later there.
    expect(isWithinHours(night, at('2026-07-01T03:30:00Z'), 'Europe/Berlin')).toBe(false)
  })

  test('on some days belong to the day on which they begin', () => {
    const friday = hoursSchema.parse({ from: '23:00', to: '02:00', days: ['fri'], timeZone: 'UTC' })
    expect(isWithinHours(friday, at('2026-11-27T23:30:00Z'), undefined)).toBe(true)
    expect(isWithinHours(friday, at('2026-11-28T01:30:00Z'), undefined)).toBe(true)
    expect(isWithinHours(friday, at('2026-11-28T23:30:00Z'), undefined)).toBe(false)
    expect(isWithinHours(friday, at('2026-11-27T01:30:00Z'), undefined)).toBe(false)
  })

  test('go by the fallback where a device names a zone that there is not', () => {
    const hours = hoursSchema.parse({ from: '10:00', to: '11:00', timeZone: 'Asia/Tokyo' })
    expect(isWithinHours(hours, at('2026-11-29T01:30:00Z'), 'Mars/Olympus')).toBe(true)
    expect(hoursSchema.safeParse({ from: '10:00', to: '11:00', timeZone: 'Mars/Olympus' }).success).toBe(false)
  })
})
