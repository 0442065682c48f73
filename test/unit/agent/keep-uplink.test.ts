import { keepUplink } from '@espalier/agent/sink/keep-uplink'
import type { SinkFrame } from '@espalier/agent/sink/sink'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

const frame = {
  sequence: 1,
  capturedWallMs: 0,
  result: { kind: 'stream', stream: new Uint8Array(100) },
} as unknown as SinkFrame

/** Connections that open and close when the test says so. */
function fakeNetwork() {
  const connections: Array<{ isOpen: boolean; bufferedBytes: number; sent: number; onClose: () => void }> = []
  const uplink = keepUplink({
    connect({ onOpen, onClose }) {
      const state = { isOpen: false, bufferedBytes: 0, sent: 0, onClose, onOpen }
      connections.push(state)
      return Object.assign(state, {
        send: () => {
          state.sent++
        },
        close: () => undefined,
      })
    },
    random: () => 0,
    onSent: undefined,
  })
  return { connections, uplink }
}

describe('an uplink that is kept', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  test('takes frames only while it is open and not behind', async () => {
    const { connections, uplink } = fakeNetwork()
    expect(await uplink.send(frame)).toBe(false)
    connections[0]!.isOpen = true
    expect(await uplink.send(frame)).toBe(true)
    connections[0]!.bufferedBytes = 2 ** 20 + 1
    expect(await uplink.send(frame)).toBe(false)
    expect(connections[0]!.sent).toBe(1)
  })

  test('connects again after it was closed, later each time, until it is closed for good', async () => {
    const { connections, uplink } = fakeNetwork()
    const waits: number[] = []
    for (let i = 0; i < 3; i++) {
      const [count, from] = [connections.length, Date.now()]
      connections.at(-1)!.onClose()
      while (connections.length === count) vi.advanceTimersByTime(25)
      waits.push(Date.now() - from)
    }
    expect(waits).toEqual([...waits].sort((a, b) => a - b))
    expect(waits[2]).toBeGreaterThan(waits[0]!)
    const count = connections.length
    await uplink.close()
    connections.at(-1)!.onClose()
    vi.advanceTimersByTime(60_000)
    expect(connections.length).toBe(count)
  })
})
