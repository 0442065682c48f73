import { MAX_BUFFERED_BYTES, relayTo } from '@espalier/controller/uplink/relay'
import { Streams } from '@espalier/controller/uplink/streams'
import { readCrc, type StreamFields, writeStream } from '@espalier/shared/codec/container'
import { decodeUplinkFrame, encodeUplinkFrame } from '@espalier/shared/messages/uplink'
import { expect, test } from 'vitest'

const KEY = 'cam-1/cam0'
const FIELDS: StreamFields = {
  frameKind: 'key',
  variantIndex: 0,
  adapterIndex: 0,
  alpha255: 0,
  width: 16,
  height: 16,
  codecDigest: '0'.repeat(16),
  tablesDigest: '0'.repeat(8),
  referenceCrc: 0,
}

/** A device that sends, a viewer whose socket takes what it is let, and a clock that stands still until it is moved. */
function makeScene() {
  let nowMs = 0
  let sequence = 0
  let last: Uint8Array | undefined
  const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs }
  const streams = new Streams(clock)
  const send = (frameKind: 'key' | 'inter', payloadBytes = 1): void => {
    const referenceCrc = frameKind === 'inter' ? readCrc(last!) : 0
    last = writeStream({ ...FIELDS, frameKind, referenceCrc }, new Uint8Array(payloadBytes).fill(sequence))
    streams.accept(KEY, encodeUplinkFrame({ sequence: sequence++, capturedWallMs: 0, stream: last }))
  }
  const viewer = {
    bufferedAmount: 0,
    said: [] as string[],
    frames: [] as number[],
    closed: undefined as number | undefined,
    send(data: Uint8Array | string) {
      if (typeof data === 'string') this.said.push(data)
      else this.frames.push(decodeUplinkFrame(data).sequence)
    },
    close(code: number) {
      this.closed = code
    },
  }
  let asked = 0
  let digest: string | undefined = 'a'
  const join = () =>
    relayTo(viewer, KEY, {
      streams,
      familyOf: () => digest,
      askForKeyFrame: () => asked++,
      monotonicMs: clock.monotonicMs,
    })
  return {
    send,
    viewer,
    join,
    asked: () => asked,
    runFamily: (next: string) => {
      digest = next
    },
    pass: (ms: number) => {
      nowMs += ms
    },
  }
}

test('a viewer that joins gets the family, the chain from its key frame on, and every frame after', () => {
  const { send, viewer, join, asked } = makeScene()
  for (const kind of ['key', 'inter', 'key', 'inter'] as const) send(kind)
  join()
  send('inter')
  expect(viewer.said).toEqual(['{"kind":"family","manifestDigest":"a"}'])
  expect(viewer.frames).toEqual([2, 3, 4])
  expect(asked()).toBe(1)
})

test('a viewer whose socket is full misses frames up to a key frame, which is asked for once', () => {
  const { send, viewer, join, asked } = makeScene()
  send('key')
  join()
  viewer.bufferedAmount = MAX_BUFFERED_BYTES + 1
  for (let i = 0; i < 3; i++) send('inter')
  viewer.bufferedAmount = 0
  send('inter')
  expect(viewer.frames).toEqual([0])
  send('key')
  send('inter')
  expect(viewer.frames).toEqual([0, 5, 6])
  expect(asked()).toBe(2)
})

test('a viewer that joins behind a chain too long to send gets the next key frame, and nothing before', () => {
  const { send, viewer, join, asked } = makeScene()
  send('key', MAX_BUFFERED_BYTES - 1000)
  send('inter', 2000)
  join()
  send('inter')
  expect(viewer.frames).toEqual([])
  expect(asked()).toBe(1)
  send('key')
  expect(viewer.frames).toEqual([3])
})

test('a viewer that takes nothing for half a minute is sent away', () => {
  const { send, viewer, join, pass } = makeScene()
  send('key')
  join()
  viewer.bufferedAmount = MAX_BUFFERED_BYTES + 1
  send('inter')
  pass(29_000)
  send('inter')
  expect(viewer.closed).toBeUndefined()
  pass(2000)
  send('inter')
  expect(viewer.closed).toBe(4408)
})

test('a viewer is told of another version of the family before the first frame of it', () => {
  const { send, viewer, join, runFamily } = makeScene()
  join()
  send('key')
  runFamily('b')
  send('key')
  expect(viewer.said.map((text) => JSON.parse(text).manifestDigest)).toEqual(['a', 'b'])
})

test('a viewer that has gone is sent nothing', () => {
  const { send, viewer, join } = makeScene()
  const leave = join()
  send('key')
  leave()
  send('key')
  expect(viewer.frames).toEqual([0])
})
