import { readFileSync } from 'node:fs'
import { parseBandwidthTrace } from '@espalier/controller/sim/bandwidth-trace'
import { describe, expect, test } from 'vitest'

describe('parseBandwidthTrace()', () => {
  test('reads the packets of Mahimahi', () => {
    const trace = parseBandwidthTrace('m', '0\n500\n999\n1500\n')
    expect([...trace.resample(1, 3)]).toEqual([36_000, 12_000, 36_000])
  })

  test('reads the columns of Pensieve', () => {
    const trace = parseBandwidthTrace('p', '0 1.5\n1 3\n3 0.5\n')
    expect([...trace.resample(1, 3)]).toEqual([1.5e6, 3e6, 3e6])
  })

  test('reads the JSON of Sabre and repeats it', () => {
    const text = JSON.stringify([
      { duration_ms: 1000, bandwidth_kbps: 800, latency_ms: 50 },
      { duration_ms: 1000, bandwidth_kbps: 400, latency_ms: 50 },
    ])
    expect([...parseBandwidthTrace('s', text).resample(2, 2)]).toEqual([600_000, 600_000])
  })

  test.each(['good-mahimahi.txt', 'good-pensieve.txt', 'good-sabre.json'])('reads the same uplink from %s', (name) => {
    const text = readFileSync(new URL(`../../fixtures/bandwidth/${name}`, import.meta.url), 'utf8')
    const megabits = [...parseBandwidthTrace(name, text).resample(20, 3)].map((bps) => bps / 1e6)
    for (const [k, expected] of [1, 3, 2].entries()) expect(megabits[k]).toBeCloseTo(expected, 1)
  })

  test.each([
    ['', 'line 0'],
    ['0 1\nfast\n', 'line 2 is "fast"'],
    ['0 1\n0 2\n', 'row 2 is not later'],
    ['[{"duration_ms":0,"bandwidth_kbps":1}]', 'entry 0'],
    ['[{', 'not JSON'],
    ['0 0\n1 0\n', 'carries nothing'],
  ])('refuses %j and says where', (text, reason) => {
    expect(() => parseBandwidthTrace('bad', text)).toThrow(SyntaxError)
    if (text !== '') expect(() => parseBandwidthTrace('bad', text)).toThrow(reason)
  })
})
