import { type Configuration, configurationId, parseConfigurationId } from '@espalier/shared/configuration'
import { IntegrityError, MessageError } from '@espalier/shared/errors'
import { addCounts, Histogram, quantile, subtractCounts } from '@espalier/shared/histogram'
import { deviceIdSchema } from '@espalier/shared/ids'
import { canonicalJson, parseManifest } from '@espalier/shared/manifest/manifest'
import { stateSchema } from '@espalier/shared/messages/device'
import { formatMessage, MAX_MESSAGE_BYTES, parseMessage } from '@espalier/shared/messages/envelope'
import { parseUpTopic, upTopic } from '@espalier/shared/messages/topics'
import { decodeUplinkFrame, encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { formatPower, formatQuantity, formatRate, parsePower, parseRate } from '@espalier/shared/units'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

describe('units', () => {
  test('parseRate() and parsePower() read what people write', () => {
    expect(parseRate('150kbit/s')).toBe(150_000)
    expect(parseRate('2 Mbps')).toBe(2_000_000)
    expect(parseRate('900 bit/s')).toBe(900)
    expect(parsePower('800mW')).toBeCloseTo(0.8)
    expect(parsePower('4.5 W')).toBe(4.5)
  })

  test('a quantity without its unit, or with another, is refused with an example', () => {
    for (const text of ['150', '150k', '4W', '-3kbit/s', 'fast', ''])
      expect(() => parseRate(text), text).toThrow(/expected a rate such as "150kbit\/s"/)
    expect(() => parsePower('4kbit/s')).toThrow(/expected a power/)
  })

  test('what is formatted reads back within three digits', () => {
    fc.assert(
      fc.property(fc.double({ min: 1, max: 1e9, noNaN: true }), (value) => {
        expect(Math.abs(parseRate(formatRate(value)) / value - 1)).toBeLessThan(value < 1000 ? 0.5 : 0.006)
        expect(Math.abs(parsePower(formatPower(value)) / value - 1)).toBeLessThan(0.006)
      }),
    )
  })

  test('a number of any unit is said in the size that people read', () => {
    for (const [value, unit, text] of [
      [30570, 'bit/s', '30.6 kbit/s'],
      [0.8, 'W', '800 mW'],
      [-2.5, 'W', '−2.5 W'],
      [0, 'W', '0 W'],
      [1500, 'W', '1.5 kW'],
      [7.2e6, 'J', '2 kWh'],
      [1.5e9, 'B', '1.5 GB'],
      [0.125, '1', '12.5 %'],
      [71.25, 'Cel', '71.3 °C'],
      [3, 'devices', '3 devices'],
    ] as const)
      expect(formatQuantity(value, unit)).toBe(text)
  })
})

describe('configuration ids', () => {
  const configuration: fc.Arbitrary<Configuration> = fc.record({
    family: fc.constantFrom('kodo', 'x-1.2'),
    variant: fc.constantFrom('full', 's'),
    alpha255: fc.integer({ min: 0, max: 255 }),
    mode: fc.constantFrom('merged' as const, 'live' as const),
    backend: fc.constantFrom('wasm' as const, 'webgpu' as const, 'native' as const),
    threads: fc.integer({ min: 1, max: 64 }),
    width: fc.integer({ min: 16, max: 8192 }),
    height: fc.integer({ min: 16, max: 8192 }),
    frameRate: fc.constantFrom(0.5, 1, 2.5, 12.5, 30, 240),
  })

  test('an id names one configuration and reads back as it', () => {
    fc.assert(
      fc.property(configuration, (c) => {
        expect(parseConfigurationId(configurationId(c))).toEqual(c)
      }),
    )
  })

  test('what is no id reads as undefined', () => {
    for (const id of ['', 'kodo', 'kodo/base/a999/512x288@5/merged/wasm1', 'kodo/base/a000/5x5@5/merged/wasm1'])
      expect(parseConfigurationId(id), id).toBeUndefined()
  })
})

describe('histograms', () => {
  test('a quantile is within five per cent of the exact one', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-3, max: 1e3, noNaN: true }), { minLength: 1, maxLength: 200 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (values, share) => {
          const histogram = new Histogram()
          for (const value of values) histogram.record(value)
          const exact = [...values].sort((a, b) => a - b)[Math.ceil(share * values.length) - 1]!
          expect(Math.abs(Math.log(quantile(histogram.counts(), share)! / exact))).toBeLessThan(0.05)
        },
      ),
    )
  })

  test('adding and subtracting cumulative counts are inverse, and nothing counted has no quantile', () => {
    const [a, b] = [new Histogram(), new Histogram()]
    for (let i = 1; i < 50; i++) (i % 3 ? a : b).record(i / 7)
    expect(subtractCounts(addCounts(a.counts(), b.counts()), a.counts())).toEqual(b.counts())
    expect(quantile({}, 0.5)).toBeUndefined()
  })
})

describe('messages', () => {
  const envelope = { v: 1 as const, bd: 3, boot: 'b', seq: 9, mono: 12.5, wall: 1.7e12, clk: 'none' as const }

  test('a message reads back as it was written', () => {
    const bytes = formatMessage({ ...envelope, body: { state: 'ready' } })
    expect(parseMessage(bytes, 'state', stateSchema)).toEqual({ ...envelope, body: { state: 'ready' } })
  })

  test('any other bytes are refused with a MessageError that names the kind', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(() => parseMessage(bytes, 'state', stateSchema)).toThrow(MessageError)
      }),
    )
    const wrongVersion = new TextEncoder().encode(JSON.stringify({ ...envelope, v: 2, body: { state: 'ready' } }))
    expect(() => parseMessage(wrongVersion, 'state', stateSchema)).toThrow(/"state".*v/)
    expect(() => parseMessage(new Uint8Array(MAX_MESSAGE_BYTES + 1), 'state', stateSchema)).toThrow(/bytes/)
  })

  test('topics name their device, and reserved or wild ones name none', () => {
    const device = deviceIdSchema.parse('cam-7')
    expect(parseUpTopic(upTopic(device, 'ack/reboot'))).toEqual({ device: 'cam-7', kind: 'ack/reboot' })
    for (const topic of [
      'espalier/v1/_controller/up/state',
      'espalier/v1/+/up/state',
      'espalier/v1/cam-7/down/desired',
    ])
      expect(parseUpTopic(topic), topic).toBeUndefined()
  })

  test('an uplink frame reads back, and one without its header is refused', () => {
    fc.assert(
      fc.property(fc.nat(), fc.uint8Array({ maxLength: 50 }), (sequence, stream) => {
        const frame = decodeUplinkFrame(encodeUplinkFrame({ sequence, capturedWallMs: 1.5e12, stream }))
        expect(frame).toEqual({ sequence, capturedWallMs: 1.5e12, stream })
      }),
    )
    expect(() => decodeUplinkFrame(Uint8Array.of(1, 2, 3))).toThrow(MessageError)
  })
})

describe('manifests', () => {
  test('canonical JSON sorts keys at every depth and drops what is undefined', () => {
    expect(canonicalJson({ b: [{ d: 1, c: undefined, a: 'é' }], a: null })).toBe('{"a":null,"b":[{"a":"é","d":1}]}')
  })

  test('a text that is no manifest is refused by name', () => {
    expect(() => parseManifest('{', 'a/manifest.json')).toThrow(/"a\/manifest.json": found no JSON/)
    expect(() => parseManifest('{"format":"espalier-family/1"}', 'm')).toThrow(IntegrityError)
  })
})
