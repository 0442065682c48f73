import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Inbox } from '@espalier/agent/link/inbox'
import { Outbox, type Publisher } from '@espalier/agent/link/outbox'
import { openFolderSink } from '@espalier/agent/sink/folder-sink'
import { Spool } from '@espalier/agent/spool/spool'
import { systemClock } from '@espalier/shared/clock'
import { deviceIdSchema } from '@espalier/shared/ids'
import type { Command } from '@espalier/shared/messages/controller'
import type { Ack, DeviceEvent } from '@espalier/shared/messages/device'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const DEVICE = deviceIdSchema.parse('d1')
const log = pino({ level: 'silent' })

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'link-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** A broker that takes `left` messages and then loses the connection. */
class FakePublisher implements Publisher {
  left = 0
  readonly taken: Array<{ topic: string; boot: string; seq: number }> = []

  get isConnected(): boolean {
    return this.left > 0
  }

  async publish(topic: string, payload: Uint8Array): Promise<void> {
    await delay(1)
    if (this.left <= 0) throw new Error('connection lost')
    this.left--
    const { boot, seq } = JSON.parse(new TextDecoder().decode(payload))
    this.taken.push({ topic, boot, seq })
  }
}

function openOutbox(publisher: Publisher, boot: string): { outbox: Outbox; spool: Spool } {
  const spool = new Spool(join(folder, 'spool'), 100_000)
  const outbox = new Outbox({
    device: DEVICE,
    boot,
    bootNumber: 1,
    clock: systemClock,
    clk: () => 'none',
    spool,
    publisher,
    bd: () => 1,
    log,
  })
  return { outbox, spool }
}

const event = (n: number): DeviceEvent => ({ kind: 'test', message: `event ${n}` })

describe('Outbox', () => {
  test('replays events in order over lost connections and restarts, each under its first boot and sequence', async () => {
    const publisher = new FakePublisher()
    const first = openOutbox(publisher, 'boot-1')
    for (let n = 0; n < 6; n++) first.outbox.sendEvent(event(n))
    publisher.left = 2
    first.outbox.drain()
    while (publisher.taken.length < 2) await delay(2)
    await delay(10)
    first.spool.close()

    const second = openOutbox(publisher, 'boot-2')
    publisher.left = 100
    second.outbox.sendEvent(event(6))
    while (second.spool.peek() !== undefined) await delay(2)

    // The first two are in a segment that was not done, so they come twice; the receiver knows them by (boot, seq).
    const unique = [...new Set(publisher.taken.map(({ boot, seq }) => `${boot} ${seq}`))]
    expect(unique).toEqual(['boot-1 0', 'boot-1 1', 'boot-1 2', 'boot-1 3', 'boot-1 4', 'boot-1 5', 'boot-2 0'])
    expect(publisher.taken.every(({ topic }) => topic === 'espalier/v1/d1/up/event')).toBe(true)
  })

  test('keeps little telemetry of an outage, because counters are cumulative', () => {
    const { outbox, spool } = openOutbox(new FakePublisher(), 'b')
    const self = { rssBytes: 0, cpuSeconds: 0, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 }
    for (let n = 0; n < 10; n++) outbox.sendTelemetry({ energy: [], slots: [], self })
    const record = spool.peek()!
    spool.remove(record)

    expect(record.kind).toBe('telemetry')
    expect(spool.peek()).toBeUndefined()
  })
})

describe('Inbox', () => {
  function openInbox(onCommand: (command: Command) => Promise<Ack> = async () => ({ result: 'done' })) {
    const [events, acks]: [DeviceEvent[], Array<[string, Ack]>] = [[], []]
    const outbox = {
      sendEvent: (sent: DeviceEvent) => void events.push(sent),
      sendAck: (id: string, ack: Ack) => void acks.push([id, ack]),
    }
    const ignore = (): void => undefined
    const inbox = new Inbox({
      device: DEVICE,
      outbox,
      onDesired: ignore,
      onCapsule: ignore,
      onController: ignore,
      onCommand,
      log,
    })
    const tell = (kind: string, body: unknown): void =>
      inbox.receive(
        `espalier/v1/d1/down/${kind}`,
        formatMessage({ v: 1, bd: 0, boot: 'c', seq: 0, mono: 0, wall: 0, clk: 'none', body }),
      )
    return { inbox, events, acks, tell }
  }

  test('refuses what is malformed with an event and goes on', () => {
    const { inbox, events, tell } = openInbox()
    inbox.receive('espalier/v1/d1/down/desired', new TextEncoder().encode('{'))
    tell('desired', { gen: 0 })
    tell('command/no good id', { kind: 'rebirth' })

    expect(events.map(({ kind }) => kind)).toEqual(['message-refused', 'message-refused', 'message-refused'])
  })

  test('answers commands, also those that fail or are unknown', async () => {
    const { acks, tell } = openInbox(async ({ kind }) => {
      if (kind === 'rebirth') throw new Error('not connected')
      return { result: 'done' }
    })
    tell('command/a', { kind: 'restart-worker' })
    tell('command/b', { kind: 'rebirth' })
    tell('command/c', { kind: 'self-destruct' })
    await delay(1)

    expect(new Map(acks)).toMatchObject(
      new Map<string, unknown>([
        ['a', { result: 'done' }],
        ['b', { result: 'rejected', reason: 'not connected' }],
        ['c', { result: 'rejected', reason: expect.stringContaining('Cannot read message') }],
      ]),
    )
  })
})

describe('openFolderSink()', () => {
  test('keeps the newest files, also over a restart, and counts a broken disk as unsent', async () => {
    const path = join(folder, 'out')
    const frame = (n: number) => ({
      sequence: n,
      capturedWallMs: 1000 + n,
      result: { kind: 'stream' as const, stream: new Uint8Array([n]), frameKind: 'key' as const },
    })
    const first = await openFolderSink(path, { maxFiles: 3 })
    for (let n = 0; n < 4; n++) expect(await first.send(frame(n))).toBe(true)
    const second = await openFolderSink(path, { maxFiles: 3 })
    await second.send(frame(4))

    const names = readdirSync(path).sort()
    expect(names.map((name) => Number(name.slice(-12, -4)))).toEqual([2, 3, 4])
    rmSync(path, { recursive: true })
    expect(await second.send(frame(5))).toBe(false)
  })
})
