import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { Outbox, type Publisher } from '@espalier/agent/link/outbox'
import { Spool } from '@espalier/agent/spool/spool'
import { EventBus } from '@espalier/controller/events'
import type { Families } from '@espalier/controller/families'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { createIngest } from '@espalier/controller/ingest/ingest'
import { openStore } from '@espalier/controller/store/open-store'
import fc from 'fast-check'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { configuration, DEVICE, makeTelemetry, temporaryFolder } from './controller-fixtures.ts'

const log = pino({ level: 'silent' })
const families: Families = {
  get: () => undefined,
  version: () => undefined,
  byCodec: () => undefined,
  list: () => [],
  scan: async () => ({ added: [], removed: [], refused: [] }),
}

type Step =
  | { kind: 'work'; frames: number }
  | { kind: 'replay'; messages: number }
  | { kind: 'kill' }
  | { kind: 'restart' }
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('work' as const), frames: fc.integer({ min: 1, max: 50 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('replay' as const), messages: fc.integer({ min: 1, max: 6 }) }),
  },
  { weight: 2, arbitrary: fc.constant({ kind: 'kill' as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'restart' as const }) },
)

test('energy, frames and events of hours offline are counted once, through duplicates, other orders, and kills of either side', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyStep, { minLength: 3, maxLength: 30 }),
      fc.infiniteStream(fc.nat(9)),
      async (steps, dice) => {
        const folder = mkdtempSync(join(temporaryFolder(), 'run-'))
        const path = join(folder, 'c.sqlite')
        let nowMs = 0
        const clock = { monotonicMs: () => nowMs, wallMs: () => 1e12 + nowMs }
        const openController = () => {
          const store = openStore(path)
          const ignore = (): void => undefined
          const ingest = createIngest({
            store,
            fleet: Fleet.load(store),
            families,
            events: new EventBus(),
            clock,
            log,
            onChange: ignore,
            onBirth: ignore,
            onUnknown: ignore,
          })
          return { store, ingest }
        }
        let controller = openController()
        let left = 0
        const late: { topic: string; payload: Uint8Array }[] = []
        /** Delivers now, twice, or only after others. */
        const deliver = (topic: string, payload: Uint8Array): void => {
          const throwOf = dice.next().value as number
          if (throwOf < 6) controller.ingest.receive(topic, payload)
          if (throwOf < 2) controller.ingest.receive(topic, payload)
          if (throwOf >= 2) late.push({ topic, payload })
          if (late.length > 3) {
            const { topic: old, payload: held } = late.splice(throwOf % late.length, 1)[0]!
            controller.ingest.receive(old, held)
          }
        }
        const publisher: Publisher = {
          get isConnected() {
            return left > 0
          },
          async publish(topic, payload) {
            if (left-- <= 0) throw new Error('connection lost')
            deliver(topic, payload)
          },
        }
        let boots = 0
        const boot = () => {
          const spool = new Spool(join(folder, 'spool'), 1 << 20)
          boots++
          const outbox = new Outbox({
            device: DEVICE,
            boot: `boot-${boots}`,
            bootNumber: boots,
            clock,
            clk: () => 'none',
            spool,
            publisher,
            bd: () => boots,
            log,
          })
          return { spool, outbox, frames: 0, saidFrames: 0 }
        }
        let device = boot()
        let [frames, events] = [0, 0]
        const tell = (): void => {
          const { frames: n } = device
          device.outbox.sendTelemetry(
            makeTelemetry(configuration, { frames: n, bits: 8 * n, joules: n, idleJoules: 0, seconds: n }),
          )
          device.saidFrames = n
        }
        const work = (more: number): void => {
          nowMs += 31_000
          device.frames += more
          tell()
          device.outbox.sendEvent({ kind: 'test', message: `event ${events++}` })
        }
        for (const step of steps) {
          if (step.kind === 'work') work(step.frames)
          else if (step.kind === 'replay') {
            left = step.messages
            device.outbox.drain()
            while (left > 0 && device.spool.peek() !== undefined) await turn()
            left = 0
            await turn()
          } else if (step.kind === 'kill') {
            // What was spooled is what counts: frames after the last record die with the process.
            frames += device.saidFrames
            device.spool.close()
            device = boot()
          } else {
            controller.store.close()
            controller = openController()
          }
        }
        work(1)
        left = Number.POSITIVE_INFINITY
        await device.outbox.publishRetained('state', { state: 'ready' })
        device.outbox.drain()
        while (device.spool.peek() !== undefined) await turn()
        for (const { topic, payload } of late) controller.ingest.receive(topic, payload)
        frames += device.saidFrames

        const totals = controller.store.telemetry.totals(DEVICE)!
        expect(totals.slots[0]).toMatchObject({ frames, bits: 8 * frames, joules: frames })
        const messages = controller.store.events.recent(DEVICE, 1000).map(({ event }) => event.message)
        expect(messages.toSorted()).toEqual(Array.from({ length: events }, (_, i) => `event ${i}`).toSorted())
        device.spool.close()
        controller.store.close()
      },
    ),
    { numRuns: 60, endOnFailure: true },
  )
})
