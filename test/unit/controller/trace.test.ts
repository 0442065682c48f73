import { replayTrace } from '@espalier/controller/trace/replay'
import { formatTrace, parseTrace, type Trace, type TraceEpoch } from '@espalier/controller/trace/trace'
import { traceWorld } from '@espalier/controller/trace/trace-world'
import { ConfigError } from '@espalier/shared/errors'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const option = (id: string, graph: string, scale: number) => ({
  id,
  graph,
  frameRate: 5,
  bitsPerFrame: 10_000 * scale,
  latencyS: 0.05 * scale,
  joulesPerFrame: 0.2 * scale,
  psnrDb: 28 + 4 * scale,
})
const options = [option('small', 's', 0.5), option('middle', 'f', 1), option('large', 'f', 2)]
const slot = (key: string, weight = 1) => ({
  key,
  site: 'north',
  deviceClass: 'board',
  weight,
  sourceFrameRate: 5,
  options,
})

/** A slot that is slower than its card by `slowdown` and sends `content` times its bits, whatever it runs. */
function record(epochs: number, of: (t: number) => { ran: string; slowdown: number; content: number }): TraceEpoch[] {
  return Array.from({ length: epochs }, (_, epoch) => {
    const { ran, slowdown, content } = of(epoch)
    const card = options.find(({ id }) => id === ran)!
    const reading = {
      configuration: ran,
      frames: 50,
      latencyS: card.latencyS * slowdown,
      bitsPerFrame: card.bitsPerFrame * content,
      joulesPerFrame: card.joulesPerFrame * slowdown,
      baseW: 2,
      psnrDb: card.psnrDb,
    }
    return { epoch, budgets: { 'site:north': { rateBps: 120_000 } }, slots: { 'a/cam0': reading, 'b/cam0': reading } }
  })
}

const trace: Trace = {
  header: {
    format: 'espalier-trace/1',
    startedAt: '2026-11-29T00:00:00.000Z',
    epochS: 10,
    slots: [slot('a/cam0'), slot('b/cam0', 2)],
  },
  epochs: record(60, (t) => ({ ran: t < 30 ? 'middle' : 'small', slowdown: 1.5, content: t < 45 ? 1.2 : 1.6 })),
}

describe('parseTrace()', () => {
  test('reads what formatTrace() wrote', () => {
    expect(parseTrace('t', formatTrace(trace))).toEqual(trace)
  })

  test('names the line that is wrong', () => {
    const lines = formatTrace(trace).split('\n')
    expect(() => parseTrace('t', lines.slice(1).join('\n'))).toThrow('Cannot read trace "t": line 1')
    expect(() => parseTrace('t', [...lines.slice(0, 3), '{"epoch":'].join('\n'))).toThrow('line 4 is not JSON')
    expect(() => parseTrace('t', [lines[0], lines[2], lines[1]].join('\n'))).toThrow('expected one after 1')
    expect(() => parseTrace('t', '')).toThrow('found 0 lines')
    const stranger = lines[1]!.replaceAll('a/cam0', 'z/cam0')
    expect(() => parseTrace('t', [lines[0], stranger].join('\n'))).toThrow('slot "z/cam0"')
  })

  test('never does anything but read or refuse, wherever a trace was cut off or altered', () => {
    const text = formatTrace({ ...trace, epochs: trace.epochs.slice(0, 2) })
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 3 }), (at, put) => {
        try {
          parseTrace('t', text.slice(0, at) + put + text.slice(at + put.length))
        } catch (error) {
          expect(error).toBeInstanceOf(SyntaxError)
        }
      }),
    )
  })
})

describe('traceWorld()', () => {
  const { world } = traceWorld(trace)

  test('has what was measured of the configuration that ran', () => {
    expect(world.latencyS(10, 0, 1)).toBeCloseTo(0.05 * 1.5)
    expect(world.rateBps(50, 0, 0)).toBeCloseTo(5000 * 1.6 * 5)
    expect(world.powerW(10, 0, 1)).toBeCloseTo(2 + 0.2 * 1.5 * 5)
  })

  test('gives others their cards times what the device was like', () => {
    expect(world.latencyS(10, 0, 2) / 0.1).toBeCloseTo(1.5, 1)
    expect(world.rateBps(50, 0, 2) / (20_000 * 5)).toBeCloseTo(1.6, 1)
  })

  test('refuses slots that do not choose from one list', () => {
    const other = { ...slot('b/cam0'), options: options.slice(1) }
    const mixed = { ...trace, header: { ...trace.header, slots: [slot('a/cam0'), other] } }
    expect(() => traceWorld(mixed)).toThrow(ConfigError)
  })
})

describe('replayTrace()', () => {
  test('puts no policy above the clairvoyant, and finds what the recorded run left', () => {
    const { policies } = replayTrace(trace, ['ours', 'clairvoyant', 'static-best'])
    const of = (name: string) => policies.find(({ policy }) => policy === name)!
    for (const { utilityPct } of policies) expect(utilityPct).toBeLessThanOrEqual(100.001)
    expect(of('recorded').utilityPct).toBeLessThan(of('clairvoyant').utilityPct)
    // Pictures become a third larger between two epochs: that is seen in the one after.
    expect(of('ours').siteViolations * 45).toBeLessThan(2.5)
  })

  test('says the same each time', () => {
    expect(replayTrace(trace, ['ours'])).toEqual(replayTrace(trace, ['ours']))
  })
})
