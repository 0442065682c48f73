import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Publisher } from '@espalier/agent/link/outbox'
import { EventBus } from '@espalier/controller/events'
import { openFamilies } from '@espalier/controller/families'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { createIngest } from '@espalier/controller/ingest/ingest'
import { createPlanner } from '@espalier/controller/planner/planner'
import { openStore } from '@espalier/controller/store/open-store'
import { Streams } from '@espalier/controller/uplink/streams'
import type { Clock } from '@espalier/shared/clock'
import { InvariantError } from '@espalier/shared/errors'
import { type DeviceId, deviceIdSchema } from '@espalier/shared/ids'
import { isCodecFamily } from '@espalier/shared/manifest/narrow-family'
import { type Birth, birthSchema } from '@espalier/shared/messages/device'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { downTopic } from '@espalier/shared/messages/topics'
import { makePrivateKey, parsePrivateKey } from '@espalier/shared/signature/keys'
import { signDocument } from '@espalier/shared/signature/signed-document'
import { pino } from 'pino'
import { randomSequence } from '../random-sequence.ts'
import { OfflineDevice } from './offline-device.ts'
import { makeTraces } from './offline-trace.ts'

/** Any moment: nothing may depend on it. */
const EPOCH_MS = Date.UTC(2026, 0, 1)
const PLAN_EVERY_S = 10
const TELEMETRY_EVERY_S = 5
/** Boards like a small Jetson, and like a Raspberry Pi. */
const MACS_PER_SECOND = [2e10, 9e9]
const MAX_TURNS = 10_000

export interface OfflineSettings {
  readonly modelsDir: string
  readonly devices: number
  readonly seed: number
  /** Seconds in contact before the cut, so that the controller knows the devices. */
  readonly learnS: number
  readonly cutS: number
  readonly isCut: boolean
  /** Of the site and of the fleet, for each device. */
  readonly rateBps: number
  readonly powerW: number
}

export interface OfflineResult {
  /** Mean of a device and a second, 0..1, while the others are cut off. */
  readonly utility: number
  /** Seconds of a device in which the last ten were over the lease. */
  readonly rateViolations: number
  readonly powerViolations: number
  /** Largest share of a lease that was used. */
  readonly worstRate: number
  readonly worstPower: number
  readonly replayed: number
  /** Frames, bits and joules that the controller's database has of all devices, minus what the devices counted. */
  readonly miscounted: { readonly frames: number; readonly bits: number; readonly joules: number }
  /** Events that the database has, minus those that were made. */
  readonly miscountedEvents: number
  readonly secondsOfDevices: number
}

class VirtualTime implements Clock {
  ms = 0
  monotonicMs = (): number => this.ms
  wallMs = (): number => EPOCH_MS + this.ms
}

function birthOf(device: DeviceId, i: number, family: string, manifestDigest: string): Birth {
  return birthSchema.parse({
    device,
    site: 'local',
    deviceClass: 'virtual',
    labels: {},
    software: 'bench',
    board: { model: 'virtual', arch: 'none', cores: 4, memoryBytes: 4e9 },
    energy: [],
    slots: [
      {
        slot: 'cam0',
        family,
        manifestDigest,
        source: { kind: 'trace', width: 512, height: 288, frameRate: 5 },
        backends: [{ backend: 'wasm', threads: 1 }],
        macsPerSecond: MACS_PER_SECOND[i % MACS_PER_SECOND.length],
        weight: 1,
      },
    ],
  })
}

/**
 * A fleet of virtual devices under the real planner, in virtual time; cut off for a while, or not. What decides, keeps, sends
 * and counts is the code of agent and controller; scene, heat, meter and network are made up from the seed.
 */
export async function runOffline(settings: OfflineSettings): Promise<OfflineResult> {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-offline-'))
  const log = pino({ level: 'silent' })
  const time = new VirtualTime()
  const store = openStore(join(folder, 'controller.sqlite'))
  const families = await openFamilies(settings.modelsDir, log)
  const family = families.get('kodo')
  if (family === undefined || !isCodecFamily(family)) throw new InvariantError('the shipped family is gone')
  const fleet = Fleet.load(store)
  const events = new EventBus()
  const key = parsePrivateKey(makePrivateKey(), 'bench')
  const devices = new Map<DeviceId, OfflineDevice>()
  let isConnected = false
  let replayed = 0
  const ingest = createIngest({
    store,
    fleet,
    families,
    events,
    clock: time,
    log,
    onChange: () => undefined,
    onBirth: () => undefined,
    onUnknown: () => undefined,
  })
  let seq = 0
  const say = (device: DeviceId, kind: 'desired' | 'capsule', body: unknown): void => {
    if (!isConnected) return
    const { ms } = time
    const message = {
      v: 1 as const,
      bd: 0,
      boot: 'c',
      seq: seq++,
      mono: ms,
      wall: time.wallMs(),
      clk: 'ntp' as const,
      body,
    }
    devices.get(device)!.inbox.receive(downTopic(device, kind), formatMessage(message))
  }
  const planner = createPlanner({
    store,
    fleet,
    families,
    streams: new Streams(time),
    events,
    clock: time,
    log,
    link: () => ({
      isConnected: () => isConnected,
      publishDesired: async (device, desired) => say(device, 'desired', desired),
      publishCapsule: async (device, capsule) => say(device, 'capsule', capsule),
    }),
    // It plans when it is asked to: its own timer runs in real time.
    intervalMs: 600_000,
    capsuleS: 3600,
    signCapsule: (capsule) => signDocument(capsule, key),
  })
  const totalS = settings.learnS + settings.cutS
  const traces = makeTraces(settings.devices, totalS, settings.seed)
  let last: { topic: string; payload: Uint8Array } | undefined
  const publisher: Publisher = {
    get isConnected() {
      return isConnected
    },
    async publish(topic, payload, { qos, retain }) {
      ingest.receive(topic, payload)
      if (qos === 0 || retain) return
      // At least once: each comes twice, and then the one before it once more.
      replayed++
      ingest.receive(topic, payload)
      if (last !== undefined) ingest.receive(last.topic, last.payload)
      last = { topic, payload }
    },
  }
  try {
    store.budgets.change('site:local', { rateBps: settings.rateBps * settings.devices }, 0)
    store.budgets.change('fleet', { powerW: settings.powerW * settings.devices }, 0)
    for (const [i, trace] of traces.entries()) {
      const id = deviceIdSchema.parse(`cam-${String(i).padStart(2, '0')}`)
      devices.set(
        id,
        new OfflineDevice({
          birth: birthOf(id, i, family.manifest.family, family.manifestDigest),
          manifest: family.manifest,
          trace,
          clock: time,
          dataDir: join(folder, id),
          publisher,
          random: randomSequence(settings.seed * 31 + i),
        }),
      )
    }
    const plan = async (): Promise<void> => {
      planner.request('it is time')
      await turn()
      await turn()
    }
    isConnected = true
    for (const device of devices.values()) await device.introduce()
    const wills = [...devices.values()].map(({ outbox }) => outbox.will())
    await plan()
    let [rateViolations, powerViolations, worstRate, worstPower] = [0, 0, 0, 0]
    for (let s = 0; s < totalS; s++) {
      if (s === settings.learnS && settings.isCut) {
        isConnected = false
        for (const { topic, payload } of wills) ingest.receive(topic, payload)
      }
      for (const device of devices.values()) {
        device.second(s, isConnected, (ms) => {
          time.ms = ms
        })
        if (s % TELEMETRY_EVERY_S === 0) device.outbox.sendTelemetry(device.telemetry())
        if (s < settings.learnS) continue
        const over = device.overLease()
        worstRate = Math.max(worstRate, over.rate)
        worstPower = Math.max(worstPower, over.power)
        if (over.rate > 1 + 1e-9) rateViolations++
        if (over.power > 1 + 1e-9) powerViolations++
      }
      if (s % PLAN_EVERY_S === 0) await plan()
    }
    isConnected = true
    for (const device of devices.values()) {
      await device.introduce()
      device.outbox.sendTelemetry(device.telemetry())
    }
    for (let turns = 0; [...devices.values()].some(({ spool }) => spool.peek() !== undefined); turns++) {
      if (turns > MAX_TURNS) throw new InvariantError('the spool is not replayed')
      await turn()
    }
    const missing = { frames: 0, bits: 0, joules: 0 }
    let miscountedEvents = 0
    for (const [id, device] of devices) {
      const [found, made] = [store.telemetry.totals(id)!.slots[0]!, device.telemetry().slots[0]!]
      for (const field of ['frames', 'bits', 'joules'] as const) missing[field] += Math.abs(found[field] - made[field])
      miscountedEvents += store.events.recent(id, 2000).length - device.events
    }
    const measured = [...devices.values()].flatMap(({ utility }) => utility.slice(settings.learnS))
    return {
      utility: measured.reduce((a, b) => a + b, 0) / measured.length,
      rateViolations,
      powerViolations,
      worstRate,
      worstPower,
      replayed,
      miscounted: missing,
      miscountedEvents,
      secondsOfDevices: measured.length,
    }
  } finally {
    planner.close()
    for (const { spool } of devices.values()) spool.close()
    store.close()
    await rm(folder, { recursive: true, force: true })
  }
}
