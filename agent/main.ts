import { join } from 'node:path'
import { describeError } from '@espalier/shared/errors'
import type { SlotId } from '@espalier/shared/ids'
import type { Command } from '@espalier/shared/messages/controller'
import type { Ack, Telemetry } from '@espalier/shared/messages/device'
import type { ClockQuality } from '@espalier/shared/messages/envelope'
import { Announcer } from './announcer.ts'
import { readHeadroom } from './autonomy/read-headroom.ts'
import { Steering } from './autonomy/steering.ts'
import type { RuntimeFinder } from './backends/runtime-finder.ts'
import type { AgentConfig } from './config.ts'
import { DeviceEnergy } from './device-energy.ts'
import { Ledger } from './ledger/ledger.ts'
import { paceTelemetry } from './ledger/pace-telemetry.ts'
import { Inbox, subscriptionsOf } from './link/inbox.ts'
import { MqttLink } from './link/mqtt-link.ts'
import { Outbox } from './link/outbox.ts'
import type { Log } from './log.ts'
import { commandsOf } from './sensors/run-command.ts'
import { openSlot } from './slot/open-slot.ts'
import type { SlotParts } from './slot/slot-parts.ts'
import { Spool } from './spool/spool.ts'
import type { AgentSurroundings } from './surroundings.ts'
import { thisMachine } from './this-machine.ts'
import { countBoot } from './time/boot-counter.ts'
import { ClockWatch } from './time/clock-watch.ts'
import { readMachineBoot, type TimeMark } from './time/time-mark.ts'
import { writeAtomically } from './twin/atomic-file.ts'
import { Twin } from './twin/twin.ts'
import { Updates } from './update/updates.ts'
import { Wanted } from './wanted.ts'

const SOFTWARE = 'espalier-agent 0.1.0'
/** How often state is compared with what was said last, and telemetry looked for: the least telemetry interval. */
const TICK_MS = 200
/** Where nothing was heard or said for a while, waking up is most of what a tick costs: then so often. */
const RESTING_TICK_MS = 1000
const RESTLESS_MS = 10_000

/** The control process: owns the parts and carries messages between them. */
class Agent {
  readonly #config: AgentConfig
  readonly #log: Log
  readonly #around: AgentSurroundings
  readonly #twin: Twin
  readonly #spool: Spool
  readonly #link: MqttLink
  readonly #outbox: Outbox
  readonly #inbox: Inbox
  #energy: DeviceEnergy | undefined
  readonly #clockWatch: ClockWatch
  readonly #mark: () => TimeMark
  readonly #ledger: Ledger
  readonly #steering: Steering
  #runtimes: RuntimeFinder | undefined
  #uplinkBytes = 0
  /** When something was last heard, or there was something to say. */
  #stirredMs: number
  /** Ends the wait for the next tick. */
  #wake: () => void = () => undefined
  readonly #updates: Updates
  readonly #slots = new Map<SlotId, SlotParts>()
  readonly #wanted: Wanted
  readonly #announcer: Announcer

  constructor(config: AgentConfig, log: Log, around: AgentSurroundings) {
    this.#config = config
    this.#log = log
    this.#around = around
    this.#twin = new Twin(config.dataDir, (error) => log.error({ reason: error.message }, 'desired state lost'))
    const { clock, files } = around
    this.#stirredMs = clock.monotonicMs()
    const { root } = config.sensors
    const boot = around.makeBootId()
    const { bootNumber, knownWallMs } = countBoot(config.dataDir, clock.wallMs(), {
      onError: (error) => log.error({ reason: describeError(error) }, 'boot not counted'),
    })
    this.#clockWatch = new ClockWatch({
      root,
      files,
      run: commandsOf(files, root, around.runCommand),
      wallMs: clock.wallMs,
      monotonicMs: clock.monotonicMs,
      knownWallMs,
    })
    const clk = (): ClockQuality => this.#clockWatch.quality
    this.#ledger = new Ledger({
      dataDir: config.dataDir,
      monotonicMs: clock.monotonicMs,
      wallMs: clock.wallMs,
      clk,
      onError: ({ message }) => log.error({ reason: message }, 'ledger'),
    })
    this.#spool = new Spool(join(config.dataDir, 'spool'), config.spoolMaxBytes)
    let isBirthUsed = true
    this.#link = new MqttLink({
      url: config.mqttUrl,
      version: config.mqttVersion,
      device: config.device,
      password: config.mqttPassword,
      subscriptions: subscriptionsOf(config.device),
      will: () => {
        // One number for each connection that was made, not for each that was tried: flash wears.
        if (isBirthUsed) this.#twin.nextBirth()
        isBirthUsed = false
        return this.#outbox.will()
      },
      onConnected: async () => {
        isBirthUsed = true
        await this.#announcer.introduce()
        this.#outbox.drain()
      },
      onMessage: (topic, payload, isRetained) => {
        this.#inbox.receive(topic, payload, isRetained)
        this.#stirredMs = clock.monotonicMs()
        this.#wake()
      },
      random: around.random,
      log,
    })
    this.#outbox = new Outbox({
      device: config.device,
      boot,
      bootNumber,
      clock: around.clock,
      clk,
      spool: this.#spool,
      publisher: this.#link,
      bd: () => this.#twin.state.bd,
      log,
    })
    this.#wanted = new Wanted(this.#twin, this.#slots, (event) => this.#outbox.sendEvent(event))
    this.#announcer = new Announcer({
      slots: this.#slots,
      outbox: this.#outbox,
      isConnected: () => this.#link.isConnected,
      gen: () => this.#twin.state.gen,
      sleepReason: around.sleepReason,
      log,
    })
    this.#inbox = new Inbox({
      device: config.device,
      outbox: this.#outbox,
      onDesired: (desired) => this.#wanted.receive(desired),
      onCapsule: (signed, isRetained) => this.#steering.receiveCapsule(signed, isRetained),
      onController: (state) => this.#steering.receiveController(state),
      onCommand: (command) => this.#obey(command),
      log,
    })
    const machineBoot = readMachineBoot(root, files, boot)
    this.#mark = () => ({ machineBoot, uptimeMs: around.readUptimeMs(), wallMs: clock.wallMs(), clk: clk() })
    this.#steering = new Steering({
      device: config.device,
      dataDir: config.dataDir,
      controllerKey: config.controllerKey,
      monotonicMs: clock.monotonicMs,
      mark: this.#mark,
      readHeadroom: () => readHeadroom(root, files),
      refusalOf: (slot, ladder) => this.#wanted.refusalOf(slot, ladder),
      desiredOf: (slot) => {
        const family = this.#slots.get(slot)?.updates.family
        return family && this.#wanted.planFor(slot, family)
      },
      onEvent: (event) => this.#outbox.sendEvent(event),
    })
    this.#updates = new Updates({
      config,
      random: around.random,
      monotonicMs: clock.monotonicMs,
      wallMs: clock.wallMs,
      clk,
      ledger: () => this.#ledger.view(),
      planFor: (slot, family) => this.#wanted.planFor(slot, family),
      onEvent: (event) => this.#outbox.sendEvent(event),
      onCommitted: () => void this.#bear(new AbortController().signal),
    })
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      await this.#open(signal)
      const stopping = new AbortController()
      const linkStopping = new AbortController()
      const stop = (): void => stopping.abort(signal.reason)
      signal.addEventListener('abort', stop)
      if (signal.aborted) stop()
      const link = this.#link.run(linkStopping.signal, () => this.#takeLeave())
      const work = [
        this.#tick(stopping.signal),
        this.#energy!.run(stopping.signal),
        this.#bear(stopping.signal),
        ...[...this.#slots.values()].map(({ slot }) => slot.run(stopping.signal)),
      ]
      try {
        const aborted = new Promise<void>((done) => {
          stopping.signal.addEventListener('abort', () => done(), { once: true })
          if (stopping.signal.aborted) done()
        })
        // A part may end (a source that does not loop) without ending the agent; a part that fails ends it.
        await Promise.race([aborted, Promise.all([...work, aborted])])
      } finally {
        stopping.abort()
        await Promise.all(
          [...this.#slots.values()].flatMap(({ updates, supervisor }) => [updates.stop(), supervisor.stop()]),
        )
        await Promise.allSettled(work)
        linkStopping.abort()
        await link
        signal.removeEventListener('abort', stop)
      }
    } finally {
      await this.#energy?.close()
      this.#updates.close()
      this.#ledger.save()
      this.#spool.close()
    }
  }

  async #open(signal: AbortSignal): Promise<void> {
    const config = this.#config
    const around = this.#around
    const onEvent: Outbox['sendEvent'] = (event) => this.#outbox.sendEvent(event)
    const board = around.readBoard(config.sensors.root)
    this.#energy = await DeviceEnergy.open({
      config,
      around,
      board,
      slots: this.#slots,
      mark: this.#mark,
      onEvent,
      log: this.#log,
    })
    const runtimes = around.makeRuntimeFinder({
      config,
      board,
      software: SOFTWARE,
      workerPath: around.workerPath,
      log: this.#log,
    })
    this.#runtimes = runtimes
    const onSent = (bytes: number): void => {
      this.#uplinkBytes += bytes
    }
    for (const slotConfig of config.slots) {
      const options = { config, around, runtimes, updates: this.#updates, twin: this.#twin, onEvent, onSent }
      const parts = await openSlot(slotConfig, options, signal)
      this.#slots.set(slotConfig.slot, parts)
      this.#wanted.resume(slotConfig.slot)
    }
    for (const { supervisor, updates } of this.#slots.values()) {
      supervisor.start()
      updates.start()
    }
  }

  /** Birth can be written once every worker has measured how fast it is. */
  async #bear(signal: AbortSignal): Promise<void> {
    const speeds = await Promise.all([...this.#slots.values()].map(({ supervisor }) => supervisor.ready(signal))).catch(
      (error: unknown) => {
        if (signal.aborted) return undefined
        throw error
      },
    )
    if (speeds === undefined) return
    const { device, site, labels } = this.#config
    const { deviceClass, ...board } = this.#around.readBoard(this.#config.sensors.root)
    await this.#announcer.bear({
      device,
      site,
      deviceClass,
      labels,
      software: SOFTWARE,
      board,
      ...this.#energy!.birth(),
      slots: [...this.#slots.values()].map(({ slot, supervisor, updates: { family }, ability }, i) => ({
        slot: slot.config.slot,
        family: family.manifest.family,
        manifestDigest: family.manifestDigest,
        source: { kind: slot.config.source.kind, ...slot.size, frameRate: slot.config.source.frameRate },
        ...ability.describe({ ...supervisor.setup, speed: speeds[i] }),
        weight: slot.config.weight,
        ...(slot.config.minPsnrDb === undefined ? {} : { minPsnrDb: slot.config.minPsnrDb }),
        ...(slot.config.minAccuracyPct === undefined ? {} : { minAccuracyPct: slot.config.minAccuracyPct }),
      })),
    })
  }

  async #takeLeave(): Promise<void> {
    this.#outbox.sendTelemetry(this.#telemetry())
    await this.#announcer.takeLeave()
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { clock, meterEveryMs } = this.#around
    let [meteredMs, toldMs] = [clock.monotonicMs(), clock.monotonicMs()]
    signal.addEventListener('abort', () => this.#wake(), { once: true })
    while (!signal.aborted) {
      await this.#untilTick()
      const nowMs = clock.monotonicMs()
      if (nowMs - meteredMs >= meterEveryMs) {
        meteredMs = nowMs
        this.#energy!.sample()
        this.#energy!.step(nowMs)
        this.#noteTraffic()
        const slots = new Map([...this.#slots].map(([id, { updates }]) => [id, updates]))
        this.#steering.step(this.#link.isConnected, slots)
        void this.#clockWatch.refresh()
        this.#show()
      }
      const { monthBytes } = this.#ledger.view()
      const { telemetryIntervalS } = this.#twin.state
      const intervalMs = paceTelemetry(telemetryIntervalS, monthBytes, this.#config.monthlyBytes) * 1000
      if (nowMs - toldMs >= intervalMs) {
        // Keep the phase unless more than one interval was missed.
        toldMs = nowMs - toldMs < 2 * intervalMs ? toldMs + intervalMs : nowMs
        this.#outbox.sendTelemetry(this.#telemetry())
      }
      if (await this.#announcer.tellChanges()) this.#stirredMs = nowMs
    }
  }

  #untilTick(): Promise<void> {
    const { clock, meterEveryMs } = this.#around
    const isResting = clock.monotonicMs() - this.#stirredMs > RESTLESS_MS
    const restMs = Math.min(RESTING_TICK_MS, meterEveryMs, 1000 * this.#twin.state.telemetryIntervalS)
    // A timer may be a millisecond early, and what is due once a second would wait for another.
    const waitMs = isResting ? Math.max(TICK_MS, restMs + 2) : TICK_MS
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  #show(): void {
    this.#around.onView?.({
      isConnected: this.#link.isConnected,
      state: this.#announcer.state(),
      reported: this.#announcer.reported(),
      telemetry: this.#telemetry(),
    })
  }

  #noteTraffic(): void {
    const { txBytes, rxBytes } = this.#link.traffic
    const fetched = this.#updates.traffic
    this.#ledger.note({
      txBytes: txBytes + this.#uplinkBytes + fetched.txBytes,
      rxBytes: rxBytes + fetched.rxBytes,
      selfJoules: this.#energy!.selfJoules,
      fetchBytes: fetched.txBytes + fetched.rxBytes,
    })
  }

  #telemetry(): Telemetry {
    const energy = this.#energy!
    energy.sample()
    const parts = [...this.#slots]
    const ledger = this.#ledger.view()
    const { monthlyBytes } = this.#config
    const flashBytes = this.#around.readFlashBytes?.()
    return {
      ...energy.telemetry(),
      slots: parts.map(([id, { slot }]) => ({ ...slot.telemetry(), ...energy.slot(id) })),
      link: {
        txBytes: ledger.txBytes,
        rxBytes: ledger.rxBytes,
        monthBytes: ledger.monthBytes,
        monthFetchBytes: ledger.monthFetchBytes,
        ...(monthlyBytes === undefined ? {} : { capBytes: monthlyBytes }),
      },
      self: {
        rssBytes: this.#around.readRssBytes(),
        cpuSeconds: energy.selfCpuSeconds,
        joules: energy.selfJoules,
        monthJoules: ledger.monthJoules,
        spoolBytes: this.#spool.bytes,
        spoolDropped: this.#spool.dropped,
        workerRestarts: parts.reduce((sum, [, { supervisor }]) => sum + supervisor.restarts, 0),
        ...(flashBytes === undefined ? {} : { flashBytes }),
      },
    }
  }

  async #obey(command: Command): Promise<Ack> {
    switch (command.kind) {
      case 'rebirth':
        await this.#announcer.introduce()
        return { result: 'done' }
      case 'restart-worker':
        for (const { supervisor } of this.#slots.values()) supervisor.restart()
        return { result: 'done' }
      case 'snapshot': {
        const stream = this.#slots.get(command.slot)?.slot.lastKeyStream
        if (stream === undefined) return { result: 'rejected', reason: `no stream of slot "${command.slot}" yet` }
        writeAtomically(join(this.#config.dataDir, 'snapshots', `${command.slot}.esp`), stream)
        return { result: 'done' }
      }
      case 'key-frame': {
        const slot = this.#slots.get(command.slot)?.slot
        if (slot === undefined) return { result: 'rejected', reason: `no slot "${command.slot}"` }
        slot.requestKeyFrame()
        return { result: 'done' }
      }
      case 'profile':
        return this.#profile(command.slot)
      case 'roll-back':
      case 'pause':
      case 'resume':
        return (
          this.#slots.get(command.slot)?.updates.obey(command.kind) ?? {
            result: 'rejected',
            reason: `no slot "${command.slot}"`,
          }
        )
    }
  }

  /** Beside what runs, so it is the speed that is left; birth says what was found. */
  async #profile(id: SlotId): Promise<Ack> {
    const parts = this.#slots.get(id)
    if (parts === undefined) return { result: 'rejected', reason: `no slot "${id}"` }
    const { updates, supervisor, ability } = parts
    const { familyDir } = supervisor.setup
    ability.renew({ familyDir, runtimes: await this.#runtimes!.find(updates.family, familyDir, { isAnew: true }) })
    await this.#bear(new AbortController().signal)
    return { result: 'done' }
  }
}

/**
 * Run the agent until aborted: play the sources, encode or classify, send, measure, obey and report.
 *
 * @param config As from `loadConfig`.
 * @param signal Ends the agent in order: last telemetry, state `offline`, worker processes gone.
 * @throws {ConfigError} If a source or sink cannot be opened.
 * @throws {IntegrityError} If a family is not what its manifest says.
 */
export async function runAgent(
  config: AgentConfig,
  signal: AbortSignal,
  log: Log,
  surroundings: Partial<AgentSurroundings> = {},
): Promise<void> {
  await new Agent(config, log, { ...thisMachine, ...surroundings }).run(signal)
}
