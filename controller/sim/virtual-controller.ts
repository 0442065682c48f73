import { setImmediate as turn } from 'node:timers/promises'
import type { DeviceId } from '@espalier/shared/ids'
import type { Desired } from '@espalier/shared/messages/controller'
import { formatMessage } from '@espalier/shared/messages/envelope'
import { pino } from 'pino'
import { EventBus } from '../events.ts'
import type { Families } from '../families.ts'
import { Fleet } from '../ingest/fleet.ts'
import { createIngest } from '../ingest/ingest.ts'
import { createPlanner } from '../planner/planner.ts'
import { openStore } from '../store/open-store.ts'
import { Streams } from '../uplink/streams.ts'

export interface VirtualControllerOptions {
  /** Of the database; `:memory:` where the disk is not of interest. */
  readonly path: string
  readonly families: Families
  /** What a device is told. */
  readonly onDesired?: (device: DeviceId, desired: Desired) => void
}

/** Wall time when virtual time is 0. */
export const VIRTUAL_START_MS = 1.7e12

/**
 * The controller of production without broker and API, in virtual time: store, ingest, estimates and planner are what
 * `startController()` has. Capsules are signed by nobody.
 */
export function openVirtualController({ path, families, onDesired }: VirtualControllerOptions) {
  const store = openStore(path)
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs, wallMs: () => VIRTUAL_START_MS + nowMs }
  const log = pino({ level: 'silent' })
  const fleet = Fleet.load(store)
  const [events, streams] = [new EventBus(), new Streams(clock)]
  const planner = createPlanner({
    store,
    fleet,
    families,
    streams,
    events,
    clock,
    log,
    link: () => ({
      isConnected: () => true,
      publishCapsule: () => Promise.resolve(),
      publishDesired(id: DeviceId, desired: Desired) {
        onDesired?.(id, desired)
        return Promise.resolve()
      },
    }),
    // Plans are asked for: the timer of real time never fires.
    intervalMs: 2 ** 31 - 1,
    capsuleS: 3600,
    signCapsule: (capsule) => capsule as never,
  })
  const ignore = (): void => undefined
  const ingest = createIngest({
    store,
    fleet,
    families,
    events,
    clock,
    log,
    onChange: ignore,
    onBirth: ignore,
    onUnknown: ignore,
  })
  return {
    store,
    fleet,
    events,
    clock,
    planner,
    pass(seconds: number): void {
      nowMs += 1000 * seconds
    },
    /** A device says something: `state`, `birth`, `telemetry`. */
    hear(device: DeviceId, kind: string, envelope: Parameters<typeof formatMessage>[0]): void {
      ingest.receive(`espalier/v1/${device}/up/${kind}`, formatMessage(envelope))
    },
    /** Plan now, and say what it led to. */
    async plan(): Promise<void> {
      planner.request('time has passed')
      await turn()
      await turn()
    },
    close(): void {
      planner.close()
      store.close()
    },
  }
}
