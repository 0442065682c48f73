import { join } from 'node:path'
import { Steering } from '@espalier/agent/autonomy/steering'
import type { PowerReading } from '@espalier/agent/governor/brake'
import { Governor, type Plan } from '@espalier/agent/governor/governor'
import { planOf } from '@espalier/agent/governor/plan-of'
import { PowerWatch } from '@espalier/agent/governor/power-watch'
import { rateModelOf } from '@espalier/agent/governor/rate-model'
import { Inbox } from '@espalier/agent/link/inbox'
import { Outbox, type Publisher } from '@espalier/agent/link/outbox'
import { SlotRecorder } from '@espalier/agent/recorder/slot-recorder'
import { defaultPlan } from '@espalier/agent/slot/default-plan'
import { makeDecimator } from '@espalier/agent/source/frames'
import { Spool } from '@espalier/agent/spool/spool'
import { Twin } from '@espalier/agent/twin/twin'
import { type CodecNominal, predictNominal } from '@espalier/controller/plan/predict'
import { utilityOf } from '@espalier/controller/plan/quality'
import type { Clock } from '@espalier/shared/clock'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { Birth, Telemetry } from '@espalier/shared/messages/device'
import { pino } from 'pino'
import type { Trace } from './offline-trace.ts'

const WINDOW_S = 10
const IDLE_W = 2
/** Harder scenes also look worse: decibels for each unit of log content. */
const DB_PER_CONTENT = 4
const SPOOL_BYTES = 4 * 1024 * 1024
const log = pino({ level: 'silent' })

export interface DeviceSettings {
  readonly birth: Birth
  readonly manifest: CodecManifest
  readonly trace: Trace
  readonly clock: Clock
  readonly dataDir: string
  readonly publisher: Publisher
  readonly random: () => number
}

/**
 * A device of which the camera, the network and the sensors are a trace, and everything that decides, remembers or sends
 * is the agent's own.
 */
export class OfflineDevice {
  readonly outbox: Outbox
  readonly inbox: Inbox
  readonly spool: Spool
  readonly steering: Steering
  readonly #settings: DeviceSettings
  readonly #slot: Birth['slots'][number]
  readonly #twin: Twin
  readonly #governor: Governor
  readonly #recorder = new SlotRecorder()
  readonly #powerWatch = new PowerWatch()
  readonly #isTaken = makeDecimator()
  readonly #nominal = new Map<string, CodecNominal>()
  #plan: Plan
  #busyUntilMs = 0
  #idleJoules = 0
  #dynamicJoules = 0
  readonly #bits: number[] = []
  readonly #watts: PowerReading[] = []
  /** Per second. */
  readonly utility: number[] = []
  events = 0

  constructor(settings: DeviceSettings) {
    this.#settings = settings
    const { birth, manifest, clock, dataDir, publisher } = settings
    this.#slot = birth.slots[0]!
    this.#twin = new Twin(dataDir, () => undefined)
    this.spool = new Spool(join(dataDir, 'spool'), SPOOL_BYTES)
    this.outbox = new Outbox({
      device: birth.device,
      boot: `boot-of-${birth.device}`,
      bootNumber: 1,
      clock,
      clk: () => 'none',
      spool: this.spool,
      publisher,
      bd: () => 1,
      log,
    })
    const { width, height, frameRate } = this.#slot.source
    this.#plan = defaultPlan(
      manifest,
      { width, height },
      { frameRate, runtime: { backend: 'wasm', threads: 1 }, maxWorkerBytes: Number.POSITIVE_INFINITY },
    )
    this.#governor = new Governor(this.#plan, clock.monotonicMs(), rateModelOf(manifest))
    this.steering = new Steering({
      device: birth.device,
      dataDir,
      controllerKey: undefined,
      monotonicMs: clock.monotonicMs,
      mark: () => ({ machineBoot: 'one', uptimeMs: clock.monotonicMs(), wallMs: clock.wallMs(), clk: 'none' }),
      readHeadroom: () => ({ thermalHeadroom: undefined, batteryHeadroom: undefined }),
      refusalOf: () => undefined,
      desiredOf: () => {
        const desired = this.#twin.state.slots[0]
        return desired && planOf(desired)
      },
      onEvent: (event) => {
        this.events++
        this.outbox.sendEvent(event)
      },
    })
    this.inbox = new Inbox({
      device: birth.device,
      outbox: this.outbox,
      onDesired: (desired) => {
        if (this.#twin.supersede(desired, () => true)) this.follow(planOf(desired.slots[0]!))
      },
      onCapsule: (signed, isRetained) => this.steering.receiveCapsule(signed, isRetained),
      onController: (state) => this.steering.receiveController(state),
      onCommand: async () => ({ result: 'done' }),
      log,
    })
  }

  get configuration(): Configuration {
    return this.#governor.configuration
  }

  follow(plan: Plan): void {
    this.#plan = plan
    this.#governor.follow(plan, this.#settings.clock.monotonicMs())
  }

  factors() {
    return this.#governor.factors(this.#settings.clock.monotonicMs())
  }

  async introduce(): Promise<void> {
    await this.outbox.publishRetained('state', { state: 'ready' })
    await this.outbox.publishRetained('birth', this.#settings.birth)
    this.outbox.drain()
  }

  #nominalOf(configuration: Configuration): CodecNominal {
    const id = configurationId(configuration)
    const known = this.#nominal.get(id) ?? predictNominal(configuration, this.#slot, this.#settings.manifest)
    this.#nominal.set(id, known)
    return known
  }

  /** Live through a second. */
  second(s: number, isConnected: boolean, setTime: (ms: number) => void): void {
    const { frameRate } = this.#slot.source
    let [bits, joules, utility] = [0, 0, 0]
    for (let i = 0; i < frameRate; i++) {
      const atMs = s * 1000 + (i * 1000) / frameRate
      setTime(atMs)
      const frame = this.#frame(s, atMs)
      bits += frame.bits
      joules += frame.joules
      utility += frame.utility
    }
    const endMs = (s + 1) * 1000
    setTime(endMs)
    this.#idleJoules += IDLE_W
    this.#dynamicJoules += joules
    const slot = { joules: this.#idleJoules + this.#dynamicJoules, idleJoules: this.#idleJoules }
    for (const reading of this.#powerWatch.read(endMs, slot.joules, new Map([[this.#slot.slot, slot]]))?.values() ??
      []) {
      this.#governor.recordPower(reading)
      this.#governor.decide(endMs)
    }
    this.#bits.push(bits)
    this.#watts.push({ atMs: endMs, durationMs: 1000, powerW: IDLE_W + joules, expectedW: 0 })
    this.utility.push(utility)
    this.steering.step(isConnected, new Map([[this.#slot.slot, this]]))
  }

  #frame(s: number, atMs: number): { bits: number; joules: number; utility: number } {
    const none = { bits: 0, joules: 0, utility: 0 }
    const { trace, random } = this.#settings
    const wanted = this.#governor.configuration.frameRate
    if (!this.#isTaken(this.#slot.source.frameRate, wanted)) return none
    if (atMs < this.#busyUntilMs) {
      this.#recorder.recordDropped(1)
      this.#governor.recordOutcome({ atMs, isMissed: true })
      return none
    }
    const configuration = this.#governor.decide(atMs)
    const nominal = this.#nominalOf(configuration)
    const [content, slowdown] = [trace.content[s]!, trace.slowdown[s]!]
    const bits = Math.round(nominal.bitsPerFrame * Math.exp(content) * (0.95 + 0.1 * random()))
    const latencyMs = nominal.latencyS * 1000 * slowdown * (0.98 + 0.04 * random())
    const psnrDb = nominal.psnrDb - DB_PER_CONTENT * content
    this.#busyUntilMs = atMs + latencyMs
    const isMissed = this.#recorder.recordFrame({ configuration, bits, latencyMs, isSent: true })
    this.#recorder.recordQuality({ kind: 'psnr', psnrDb })
    this.#governor.recordSent({ atMs, bits, configuration, latencyMs })
    this.#governor.recordOutcome({ atMs, isMissed })
    const utility = isMissed ? 0 : utilityOf({ psnrDb }, configuration.frameRate, this.#slot) / configuration.frameRate
    return { bits, joules: nominal.joulesPerFrame * slowdown, utility }
  }

  /** Used over leased, of the ten seconds that end now; 0 without a lease. */
  overLease(): { rate: number; power: number } {
    const { leaseBps, leasePowerW } = this.#plan
    const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / WINDOW_S
    return {
      rate: leaseBps === undefined ? 0 : sum(this.#bits.slice(-WINDOW_S)) / leaseBps,
      power: leasePowerW === undefined ? 0 : sum(this.#watts.slice(-WINDOW_S).map((r) => r.powerW)) / leasePowerW,
    }
  }

  telemetry(): Telemetry {
    const joules = this.#idleJoules + this.#dynamicJoules
    const idleJoules = this.#idleJoules
    return {
      energy: [
        {
          source: 'model:utilisation',
          rail: 'board',
          scope: 'modelled',
          method: 'model',
          joules,
          idleJoules,
          uncertainty: 0.1,
          coverage: 1,
          rateHz: 1,
        },
      ],
      slots: [
        {
          slot: this.#slot.slot,
          configuration: configurationId(this.configuration),
          ...this.#recorder.counters(),
          joules,
          idleJoules,
        },
      ],
      self: {
        rssBytes: 0,
        cpuSeconds: 0,
        joules: 0,
        spoolBytes: this.spool.bytes,
        spoolDropped: this.spool.dropped,
        workerRestarts: 0,
      },
    }
  }
}
