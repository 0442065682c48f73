import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { describeError } from '@espalier/shared/errors'
import type { SlotId } from '@espalier/shared/ids'
import type { Family } from '@espalier/shared/manifest/open-family'
import type { Command, Desired, Rung } from '@espalier/shared/messages/controller'
import type { Ack, Birth, DeviceEvent, Reported, State, Telemetry } from '@espalier/shared/messages/device'
import type { ClockQuality } from '@espalier/shared/messages/envelope'
import { readHeadroom } from './autonomy/read-headroom.ts'
import { Steering } from './autonomy/steering.ts'
import type { RuntimeFinder } from './backends/runtime-finder.ts'
import type { AgentConfig, SlotConfig } from './config.ts'
import type { Plan } from './governor/governor.ts'
import { planOf } from './governor/plan-of.ts'
import { PowerWatch } from './governor/power-watch.ts'
import { Ledger } from './ledger/ledger.ts'
import { paceTelemetry } from './ledger/pace-telemetry.ts'
import { Inbox, subscriptionsOf } from './link/inbox.ts'
import { MqttLink } from './link/mqtt-link.ts'
import { Outbox } from './link/outbox.ts'
import type { Log } from './log.ts'
import { carbonIntensity, gramsOfCarbon } from './meter/carbon.ts'
import { IdleMemory } from './meter/idle-memory.ts'
import { Meter } from './meter/meter.ts'
import { defaultPowerModel } from './meter/power-model.ts'
import { MachineWatch } from './sensors/machine-watch.ts'
import { openPlug, type Plug } from './sensors/plug.ts'
import { commandsOf } from './sensors/run-command.ts'
import { SensorWatch } from './sensors/sensor-watch.ts'
import { Slot } from './slot/slot.ts'
import { SlotAbility } from './slot/slot-ability.ts'
import { Spool } from './spool/spool.ts'
import { WorkerSupervisor } from './supervisor/worker-supervisor.ts'
import type { AgentSurroundings } from './surroundings.ts'
import { thisMachine } from './this-machine.ts'
import { countBoot } from './time/boot-counter.ts'
import { ClockWatch } from './time/clock-watch.ts'
import { readMachineBoot, type TimeMark } from './time/time-mark.ts'
import { writeAtomically } from './twin/atomic-file.ts'
import { type DesiredSlot, Twin } from './twin/twin.ts'
import type { SlotUpdates } from './update/slot-updates.ts'
import { Updates } from './update/updates.ts'

const SOFTWARE = 'espalier-agent 0.1.0'
/** How often state is compared with what was said last, and telemetry looked for: the least telemetry interval. */
const TICK_MS = 200
/** A frame may take this many of its intervals, and never less than the floor, before its worker counts as hung. */
const HUNG_AFTER_INTERVALS = 20
const MIN_FRAME_DEADLINE_MS = 15_000

interface SlotParts {
  readonly slot: Slot
  readonly supervisor: WorkerSupervisor
  readonly updates: SlotUpdates
  readonly ability: SlotAbility
}

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
  #meter: Meter | undefined
  #sensors: SensorWatch | undefined
  #idle: IdleMemory | undefined
  #machine: MachineWatch | undefined
  #plug: Plug | undefined
  readonly #clockWatch: ClockWatch
  readonly #mark: () => TimeMark
  readonly #ledger: Ledger
  readonly #steering: Steering
  #runtimes: RuntimeFinder | undefined
  readonly #powerWatch = new PowerWatch()
  #uplinkBytes = 0
  readonly #updates: Updates
  readonly #parts = new Map<SlotId, SlotParts>()
  #birth: Birth | undefined
  /** CPU of the device before this boot. */
  #deviceCpuAtStart = 0
  #saidState = ''
  #saidReported = ''

  constructor(config: AgentConfig, log: Log, around: AgentSurroundings) {
    this.#config = config
    this.#log = log
    this.#around = around
    this.#twin = new Twin(config.dataDir, (error) => log.error({ reason: error.message }, 'desired state lost'))
    const { clock, files } = around
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
        await this.#introduce()
        this.#outbox.drain()
      },
      onMessage: (topic, payload, isRetained) => this.#inbox.receive(topic, payload, isRetained),
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
    this.#inbox = new Inbox({
      device: config.device,
      outbox: this.#outbox,
      onDesired: (desired) => this.#receiveDesired(desired),
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
      refusalOf: (slot, ladder) => this.#refusalOf(slot, ladder),
      desiredOf: (slot) => {
        const family = this.#parts.get(slot)?.updates.family
        return family && this.#planFor(slot, family)
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
      planFor: (slot, family) => this.#planFor(slot, family),
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
        this.#machine!.run(stopping.signal),
        this.#sensors!.run(stopping.signal),
        this.#bear(stopping.signal),
        ...[...this.#parts.values()].map(({ slot }) => slot.run(stopping.signal)),
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
          [...this.#parts.values()].flatMap(({ updates, supervisor }) => [updates.stop(), supervisor.stop()]),
        )
        await Promise.allSettled(work)
        linkStopping.abort()
        await link
        signal.removeEventListener('abort', stop)
      }
    } finally {
      await this.#plug?.close()
      this.#updates.close()
      this.#ledger.save()
      this.#idle?.save()
      this.#spool.close()
    }
  }

  async #open(signal: AbortSignal): Promise<void> {
    const { clock, random, files, runCommand: ownCommands } = this.#around
    const { root, pmic, plug, sampleHz, maxCpuShare } = this.#config.sensors
    const board = this.#around.readBoard(root)
    this.#deviceCpuAtStart = this.#around.readDeviceCpuSeconds()
    const surroundings = { root, files, run: commandsOf(files, root, ownCommands) }
    this.#machine = new MachineWatch(surroundings)
    this.#plug = plug && openPlug(plug)
    const sensors = new SensorWatch({
      surroundings,
      pmic,
      plug: this.#plug,
      sampling: { clock, random, sampleHz, maxCpuShare },
      onEvent: (event) => this.#outbox.sendEvent(event),
    })
    this.#sensors = sensors
    await sensors.open()
    this.#meter = new Meter({
      counter: () => sensors.counter,
      model: this.#config.power ?? defaultPowerModel(board),
      cores: board.cores,
      slots: this.#config.slots.map(({ slot }) => slot),
      clock,
      onSensor: ({ isReadable, message }) =>
        this.#outbox.sendEvent({ kind: isReadable ? 'sensor-back' : 'sensor-lost', message: message.slice(0, 1000) }),
    })
    this.#idle = new IdleMemory({
      dataDir: this.#config.dataDir,
      board: board.model,
      idle: this.#meter.idle,
      mark: () => this.#mark(),
      monotonicMs: clock.monotonicMs,
      onError: (error) => this.#log.error({ reason: error.message }, 'idle power'),
    })
    this.#runtimes = this.#around.makeRuntimeFinder({
      config: this.#config,
      board,
      software: SOFTWARE,
      workerPath: this.#around.workerPath,
      log: this.#log,
    })
    for (const slotConfig of this.#config.slots) await this.#openSlot(slotConfig, signal)
    for (const { supervisor, updates } of this.#parts.values()) {
      supervisor.start()
      updates.start()
    }
  }

  async #openSlot(config: SlotConfig, signal: AbortSignal): Promise<void> {
    const { controllerUrl, device, qualityEveryFrames, wear } = this.#config
    const opened = await this.#updates.open(config)
    const { family, folder: familyDir } = opened.running
    const { manifest } = family
    const { openSource, openSink } = this.#around
    const { frameRate } = config.source
    const { maxWorkerBytes } = this.#runtimes!
    const runtimes = await this.#runtimes!.find(family, familyDir, { signal })
    const stream = await openSource(config.source)
    const ability = new SlotAbility({ stream, frameRate, maxWorkerBytes, measured: { runtimes, familyDir } })
    const standard = ability.defaultPlan(manifest)
    const lease = this.#twin.leaseOf(config.slot)
    const onEvent = (event: DeviceEvent): void => this.#outbox.sendEvent(event)
    const supervisor = new WorkerSupervisor({
      workerPath: this.#around.workerPath,
      familyDir,
      ...ability.runtime,
      wear: { ...wear, maxRssBytes: maxWorkerBytes },
      speedOf: (setup) => ability.speedOf(setup),
      frameDeadlineMs: Math.max(MIN_FRAME_DEADLINE_MS, (HUNG_AFTER_INTERVALS * 1000) / frameRate),
      onDeath: (reason) => {
        onEvent({ kind: 'worker-died', slot: config.slot, message: reason.slice(0, 1000) })
        this.#parts.get(config.slot)?.updates.noteDeath(reason)
      },
    })
    // A variant that gives wrong answers is found when it is opened: until then the default runs.
    const slot = new Slot({
      config,
      manifest,
      plan: lease === undefined ? standard : planOf({ ...standard, lease }),
      stream,
      reopen: () => openSource(config.source),
      sink: await openSink(config.sink, {
        task: manifest.task,
        controllerUrl,
        device,
        slot: config.slot,
        random: this.#around.random,
        clock: this.#around.clock,
        onEvent,
        onSent: (bytes) => {
          this.#uplinkBytes += bytes
        },
      }),
      supervisor,
      qualityEveryFrames,
      clock: this.#around.clock,
      onEvent,
      onFrame: (frame) => this.#parts.get(config.slot)?.updates.note(frame),
    })
    const updates = this.#updates.manage({
      ...opened,
      slot,
      supervisor,
      defaultPlan: (version) => ability.defaultPlan(version.manifest),
      refusalOf: (plan, version) => ability.refusalOf(plan, version.manifest),
    })
    this.#parts.set(config.slot, { slot, supervisor, updates, ability })
    const held = this.#twin.planFor(config.slot, family.manifestDigest, () => true)
    const refusal = held && ability.refusalOf(held, manifest)
    if (refusal !== undefined) slot.refuse(refusal)
    else updates.refresh()
  }

  /** What is wanted of a slot while it runs a version; undefined: nobody has said yet. */
  #planFor(slot: SlotId, { manifest, manifestDigest }: Family): Plan | undefined {
    const ability = this.#parts.get(slot)?.ability
    const held = this.#twin.planFor(slot, manifestDigest, (plan) => ability?.refusalOf(plan, manifest) === undefined)
    if (held !== undefined) return planOf(held)
    const lease = this.#twin.leaseOf(slot)
    return lease && ability && planOf({ ...ability.defaultPlan(manifest), lease })
  }

  /** Birth can be written once every worker has measured how fast it is. */
  async #bear(signal: AbortSignal): Promise<void> {
    const speeds = await Promise.all([...this.#parts.values()].map(({ supervisor }) => supervisor.ready(signal))).catch(
      (error: unknown) => {
        if (signal.aborted) return undefined
        throw error
      },
    )
    if (speeds === undefined) return
    const { device, site, labels } = this.#config
    const { deviceClass, ...board } = this.#around.readBoard(this.#config.sensors.root)
    this.#birth = {
      device,
      site,
      deviceClass,
      labels,
      software: SOFTWARE,
      board,
      energy: this.#meter!.sources(),
      sensorsRefused: this.#sensors!.refused.slice(0, 32).map(({ name, why, reason }) => ({
        name: name.slice(0, 80),
        why,
        reason: reason.slice(0, 300),
      })),
      slots: [...this.#parts.values()].map(({ slot, supervisor, updates: { family }, ability }, i) => ({
        slot: slot.config.slot,
        family: family.manifest.family,
        manifestDigest: family.manifestDigest,
        source: { kind: slot.config.source.kind, ...slot.size, frameRate: slot.config.source.frameRate },
        ...ability.describe({ ...supervisor.setup, speed: speeds[i] }),
        weight: slot.config.weight,
        ...(slot.config.minPsnrDb === undefined ? {} : { minPsnrDb: slot.config.minPsnrDb }),
        ...(slot.config.minAccuracyPct === undefined ? {} : { minAccuracyPct: slot.config.minAccuracyPct }),
      })),
    }
    if (this.#link.isConnected) await this.#introduce().catch((error: unknown) => this.#logLost(error))
  }

  /** Say who this is: state first, then birth once there is one. */
  async #introduce(): Promise<void> {
    const reported = this.#reported()
    const state = this.#state(reported)
    await this.#outbox.publishRetained('state', state)
    this.#saidState = JSON.stringify(state)
    if (this.#birth === undefined) return
    await this.#outbox.publishRetained('birth', this.#birth)
    await this.#outbox.publishRetained('reported', reported)
    this.#saidReported = JSON.stringify(reported)
  }

  async #takeLeave(): Promise<void> {
    this.#outbox.sendTelemetry(this.#telemetry())
    await this.#outbox.publishRetained('state', { state: 'offline', reason: 'stopped' })
  }

  #state(reported = this.#reported()): State {
    if (this.#birth === undefined) return { state: 'init' }
    const asleep = this.#around.sleepReason?.()
    if (asleep !== undefined) return { state: 'sleeping', reason: asleep.slice(0, 500) }
    const slots = reported.slots.filter(({ phase }) => phase === 'failed' || phase === 'starting')
    const onTrial = [...this.#parts].filter(([, { updates }]) => updates.isOnTrial).map(([id]) => id)
    if (slots.length === 0)
      return onTrial.length === 0
        ? { state: 'ready' }
        : { state: 'trial', reason: `another version is on trial: ${onTrial.join(', ')}` }
    const reason = slots.map(({ slot, phase, reason: why }) => `${slot}: ${phase}${why ? `, ${why}` : ''}`).join('; ')
    return { state: 'degraded', reason: reason.slice(0, 500) }
  }

  #reported(): Reported {
    return {
      gen: this.#twin.state.gen,
      slots: [...this.#parts.values()].map(({ slot, updates }) => ({ ...slot.reported(), ...updates.reported() })),
    }
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { clock, meterEveryMs } = this.#around
    let [meteredMs, toldMs] = [clock.monotonicMs(), clock.monotonicMs()]
    while (!signal.aborted) {
      await delay(TICK_MS, undefined, { signal }).catch(() => undefined)
      const nowMs = clock.monotonicMs()
      if (nowMs - meteredMs >= meterEveryMs) {
        meteredMs = nowMs
        this.#sample()
        this.#brake(nowMs)
        const slots = new Map([...this.#parts].map(([id, { updates }]) => [id, updates]))
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
      if (this.#link.isConnected) await this.#tellChanges().catch((error: unknown) => this.#logLost(error))
    }
  }

  #show(): void {
    this.#around.onView?.({
      isConnected: this.#link.isConnected,
      state: this.#state(),
      reported: this.#reported(),
      telemetry: this.#telemetry(),
    })
  }

  async #tellChanges(): Promise<void> {
    const reported = this.#reported()
    const state = this.#state(reported)
    if (JSON.stringify(state) !== this.#saidState) {
      await this.#outbox.publishRetained('state', state)
      this.#saidState = JSON.stringify(state)
    }
    if (this.#birth !== undefined && JSON.stringify(reported) !== this.#saidReported) {
      await this.#outbox.publishRetained('reported', reported)
      this.#saidReported = JSON.stringify(reported)
    }
  }

  #selfCpuSeconds(): number {
    const ofWorkers = [...this.#parts.values()].reduce((sum, { supervisor }) => sum + supervisor.cpuSeconds.agent, 0)
    return this.#around.readOwnCpuSeconds() + ofWorkers
  }

  #sample(): void {
    this.#meter!.sample({
      slots: new Map([...this.#parts].map(([id, { supervisor }]) => [id, supervisor.cpuSeconds.slot])),
      self: this.#selfCpuSeconds(),
      device: this.#around.readDeviceCpuSeconds() - this.#deviceCpuAtStart,
    })
  }

  /** Let each slot keep its lease of power. */
  #brake(nowMs: number): void {
    const meter = this.#meter!
    this.#idle!.keep(this.#machine?.state?.powerMode)
    const slots = new Map([...this.#parts.keys()].map((id) => [id, meter.slot(id)]))
    for (const [id, reading] of this.#powerWatch.read(nowMs, meter.mark().joules, slots) ?? [])
      this.#parts.get(id)?.slot.recordPower(reading)
    for (const [id, { updates }] of this.#parts) updates.tick(meter.slot(id).joules)
    const { txBytes, rxBytes } = this.#link.traffic
    const fetched = this.#updates.traffic
    this.#ledger.note({
      txBytes: txBytes + this.#uplinkBytes + fetched.txBytes,
      rxBytes: rxBytes + fetched.rxBytes,
      selfJoules: meter.selfJoules,
      fetchBytes: fetched.txBytes + fetched.rxBytes,
    })
  }

  #telemetry(): Telemetry {
    this.#sample()
    const meter = this.#meter!
    const parts = [...this.#parts]
    const carbon = carbonIntensity(this.#config.carbon)
    const baseline = meter.idle.current
    const ledger = this.#ledger.view()
    const { monthlyBytes } = this.#config
    const { amendMachine = (state) => state } = this.#around
    const flashBytes = this.#around.readFlashBytes?.()
    return {
      energy: meter.telemetry(),
      ...(this.#machine?.state === undefined ? {} : { machine: amendMachine(this.#machine.state) }),
      carbon: { ...carbon, grams: gramsOfCarbon(meter.mark().joules, carbon) },
      ...(baseline === undefined
        ? {}
        : {
            idle: {
              source: baseline.source,
              watts: baseline.watts,
              halfWidthW: baseline.halfWidthW,
              ageS: Math.max(0, (this.#around.clock.monotonicMs() - baseline.measuredAtMs) / 1000),
            },
          }),
      slots: parts.map(([id, { slot }]) => ({ ...slot.telemetry(), ...meter.slot(id) })),
      link: {
        txBytes: ledger.txBytes,
        rxBytes: ledger.rxBytes,
        monthBytes: ledger.monthBytes,
        monthFetchBytes: ledger.monthFetchBytes,
        ...(monthlyBytes === undefined ? {} : { capBytes: monthlyBytes }),
      },
      self: {
        rssBytes: this.#around.readRssBytes(),
        cpuSeconds: this.#selfCpuSeconds(),
        joules: meter.selfJoules,
        monthJoules: ledger.monthJoules,
        spoolBytes: this.#spool.bytes,
        spoolDropped: this.#spool.dropped,
        workerRestarts: parts.reduce((sum, [, { supervisor }]) => sum + supervisor.restarts, 0),
        ...(flashBytes === undefined ? {} : { flashBytes }),
      },
    }
  }

  /** @param family A version of the slot's; absent: the one that runs. */
  #refusalOf(slot: SlotId, ladder: readonly Rung[], family?: Family): string | undefined {
    const { updates, ability } = this.#parts.get(slot) ?? {}
    if (updates === undefined || ability === undefined) return 'this device has no such slot'
    return ability.refusalOf({ ladder }, (family ?? updates.family).manifest)
  }

  #receiveDesired(desired: Desired): void {
    if (desired.gen < this.#twin.state.gen) return
    const tagged = { ...desired, slots: desired.slots.map((wanted) => this.#tagVersion(wanted)) }
    const refusalOf = ({ slot, ladder }: DesiredSlot): string | undefined =>
      this.#refusalOf(slot, ladder, this.#versionFor(slot, ladder))
    const isNewer = this.#twin.supersede(
      tagged,
      (wanted) => refusalOf(wanted) === undefined,
      (held) => this.#isCounted(held),
    )
    for (const wanted of tagged.slots) {
      const refusal = refusalOf(wanted)
      const { slot, updates } = this.#parts.get(wanted.slot) ?? {}
      if (refusal !== undefined) slot?.refuse(refusal)
      // The limits are for whatever runs, also where the ladder is not.
      else if (isNewer) updates?.refresh()
      if (refusal !== undefined && isNewer)
        this.#outbox.sendEvent({
          kind: 'desired-refused',
          slot: wanted.slot,
          message: `Cannot run generation ${desired.gen}: ${refusal}`.slice(0, 1000),
        })
    }
    for (const { slot, family } of desired.slots) this.#parts.get(slot)?.updates.order(family)
  }

  /** A ladder is for the version that is committed here when it comes, whatever other is ordered with it. */
  #tagVersion(wanted: DesiredSlot): DesiredSlot {
    const version = this.#versionFor(wanted.slot, wanted.ladder)
    return version === undefined ? wanted : { ...wanted, family: { manifestDigest: version.manifestDigest } }
  }

  /** The controller hears of a version that is on trial: a ladder that only that one can run is for it. */
  #versionFor(slot: SlotId, ladder: readonly Rung[]): Family | undefined {
    const updates = this.#parts.get(slot)?.updates
    if (updates === undefined) return undefined
    const { committed, family } = updates
    const canRun = (version: Family): boolean => this.#refusalOf(slot, ladder, version) === undefined
    return !canRun(committed) && canRun(family) ? family : committed
  }

  /** Plans of versions that are neither here nor on their way are let go. */
  #isCounted({ slot, family }: DesiredSlot): boolean {
    const updates = this.#parts.get(slot)?.updates
    return family === undefined || updates === undefined || updates.pinned().includes(family.manifestDigest)
  }

  async #obey(command: Command): Promise<Ack> {
    switch (command.kind) {
      case 'rebirth':
        await this.#introduce()
        return { result: 'done' }
      case 'restart-worker':
        for (const { supervisor } of this.#parts.values()) supervisor.restart()
        return { result: 'done' }
      case 'snapshot': {
        const stream = this.#parts.get(command.slot)?.slot.lastKeyStream
        if (stream === undefined) return { result: 'rejected', reason: `no stream of slot "${command.slot}" yet` }
        writeAtomically(join(this.#config.dataDir, 'snapshots', `${command.slot}.esp`), stream)
        return { result: 'done' }
      }
      case 'key-frame': {
        const slot = this.#parts.get(command.slot)?.slot
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
          this.#parts.get(command.slot)?.updates.obey(command.kind) ?? {
            result: 'rejected',
            reason: `no slot "${command.slot}"`,
          }
        )
    }
  }

  /** Beside what runs, so it is the speed that is left; birth says what was found. */
  async #profile(id: SlotId): Promise<Ack> {
    const parts = this.#parts.get(id)
    if (parts === undefined) return { result: 'rejected', reason: `no slot "${id}"` }
    const { updates, supervisor, ability } = parts
    const { familyDir } = supervisor.setup
    ability.renew({ familyDir, runtimes: await this.#runtimes!.find(updates.family, familyDir, { isAnew: true }) })
    await this.#bear(new AbortController().signal)
    return { result: 'done' }
  }

  #logLost(error: unknown): void {
    this.#log.debug({ reason: describeError(error) }, 'message waits for the next connection')
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
