import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { RuntimeFinder } from '../backends/runtime-finder.ts'
import type { AgentConfig, SlotConfig } from '../config.ts'
import { planOf } from '../governor/plan-of.ts'
import { WorkerSupervisor } from '../supervisor/worker-supervisor.ts'
import type { AgentSurroundings } from '../surroundings.ts'
import type { Twin } from '../twin/twin.ts'
import type { Updates } from '../update/updates.ts'
import { Slot } from './slot.ts'
import { SlotAbility } from './slot-ability.ts'
import type { SlotParts } from './slot-parts.ts'

/** A frame may take this many of its intervals, and never less than the floor, before its worker counts as hung. */
const HUNG_AFTER_INTERVALS = 20
const MIN_FRAME_DEADLINE_MS = 15_000

export interface OpenSlotOptions {
  readonly config: AgentConfig
  readonly around: AgentSurroundings
  readonly runtimes: RuntimeFinder
  readonly updates: Updates
  readonly twin: Twin
  readonly onEvent: (event: DeviceEvent) => void
  /** Bytes of results that went away. */
  readonly onSent: (bytes: number) => void
}

/**
 * Open what works for one slot: the version that is committed, source, sink, worker. Nothing runs yet.
 *
 * @throws {ConfigError} If a source or sink cannot be opened.
 * @throws {IntegrityError} If the family that came with the software is not what its manifest says.
 */
export async function openSlot(
  slotConfig: SlotConfig,
  { config, around, runtimes, updates, twin, onEvent, onSent }: OpenSlotOptions,
  signal: AbortSignal,
): Promise<SlotParts> {
  const { controllerUrl, device, qualityEveryFrames, wear } = config
  const opened = await updates.open(slotConfig)
  const { family, folder: familyDir } = opened.running
  const { manifest } = family
  const { openSource, openSink, random, clock, workerPath } = around
  const { frameRate } = slotConfig.source
  const { maxWorkerBytes } = runtimes
  const measured = await runtimes.find(family, familyDir, { signal })
  const stream = await openSource(slotConfig.source)
  const ability = new SlotAbility({ stream, frameRate, maxWorkerBytes, measured: { runtimes: measured, familyDir } })
  const standard = ability.defaultPlan(manifest)
  const lease = twin.leaseOf(slotConfig.slot)
  let parts: SlotParts | undefined
  const supervisor = new WorkerSupervisor({
    workerPath,
    familyDir,
    ...ability.runtime,
    wear: { ...wear, maxRssBytes: maxWorkerBytes },
    speedOf: (setup) => ability.speedOf(setup),
    frameDeadlineMs: Math.max(MIN_FRAME_DEADLINE_MS, (HUNG_AFTER_INTERVALS * 1000) / frameRate),
    onDeath: (reason) => {
      onEvent({ kind: 'worker-died', slot: slotConfig.slot, message: reason.slice(0, 1000) })
      parts?.updates.noteDeath(reason)
    },
  })
  // A variant that gives wrong answers is found when it is opened: until then the default runs.
  const slot = new Slot({
    config: slotConfig,
    manifest,
    plan: lease === undefined ? standard : planOf({ ...standard, lease }),
    stream,
    reopen: () => openSource(slotConfig.source),
    sink: await openSink(slotConfig.sink, {
      task: manifest.task,
      controllerUrl,
      device,
      slot: slotConfig.slot,
      random,
      clock,
      onEvent,
      onSent,
    }),
    supervisor,
    qualityEveryFrames,
    clock,
    onEvent,
    onFrame: (frame) => parts?.updates.note(frame),
  })
  parts = {
    slot,
    supervisor,
    ability,
    updates: updates.manage({
      ...opened,
      slot,
      supervisor,
      defaultPlan: (version) => ability.defaultPlan(version.manifest),
      refusalOf: (plan, version) => ability.refusalOf(plan, version.manifest),
    }),
  }
  return parts
}
