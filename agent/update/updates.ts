import { join, resolve } from 'node:path'
import type { SlotId } from '@espalier/shared/ids'
import { type Family, type FamilyCheck, openFamily } from '@espalier/shared/manifest/open-family'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { ClockQuality } from '@espalier/shared/messages/envelope'
import { requireSignature } from '@espalier/shared/signature/manifest-signature'
import type { AgentConfig, SlotConfig } from '../config.ts'
import type { Plan } from '../governor/governor.ts'
import type { LedgerView } from '../ledger/ledger.ts'
import type { Slot } from '../slot/slot.ts'
import { disk } from '../store/disk.ts'
import { FamilyStore } from '../store/family-store.ts'
import { findFetchObstacle } from '../store/fetch-policy.ts'
import { openHttp } from '../store/http-get.ts'
import type { WorkerSupervisor } from '../supervisor/worker-supervisor.ts'
import { PairedFile } from '../twin/paired-file.ts'
import { findRunnable } from './find-runnable.ts'
import { SecondsRecorder } from './seconds-recorder.ts'
import { SlotUpdates, type Version } from './slot-updates.ts'
import { fresh } from './transition.ts'
import { type UpdateState, updateStateSchema } from './update-state.ts'

/** Left free on the disk whatever the quota says: logs, the spool and the system need it. */
const RESERVE_BYTES = 64 * 1024 * 1024

export interface UpdatesOptions {
  readonly config: AgentConfig
  /** In [0, 1). */
  readonly random: () => number
  readonly monotonicMs: () => number
  readonly wallMs: () => number
  readonly clk: () => ClockQuality
  readonly ledger: () => Pick<LedgerView, 'monthBytes' | 'monthFetchBytes'>
  /** What is wanted of a slot while it runs a version. */
  readonly planFor: (slot: SlotId, family: Family) => Plan | undefined
  readonly onEvent: (event: DeviceEvent) => void
  readonly onCommitted: () => void
}

/** What a slot starts with, and what it knows of its versions. */
export interface OpenedSlot {
  readonly installed: Version
  readonly running: Version
  readonly damage: string | undefined
  readonly state: UpdateState
  readonly file: PairedFile<UpdateState>
}

/** Versions of families on this device: one store and one link for all slots, one table for each. */
export class Updates {
  readonly #options: UpdatesOptions
  readonly #store: FamilyStore
  readonly #http: ReturnType<typeof openHttp>
  readonly #slots: SlotUpdates[] = []
  readonly #check: FamilyCheck | undefined
  readonly traffic = { rxBytes: 0, txBytes: 0 }

  constructor(options: UpdatesOptions) {
    this.#options = options
    const { config } = options
    const { familyKey, dataDir, storeMaxBytes, device, mqttPassword, controllerUrl } = config
    this.#check = familyKey === undefined ? undefined : requireSignature(familyKey)
    this.#store = new FamilyStore({
      disk,
      folder: resolve(dataDir, 'store'),
      installed: [config.familyDir, ...config.slots.flatMap(({ familyDir }) => familyDir ?? [])].map((each) =>
        resolve(each),
      ),
      maxBytes: storeMaxBytes,
      reserveBytes: RESERVE_BYTES,
      check: this.#check,
    })
    this.#http = openHttp({
      credentials:
        mqttPassword === undefined
          ? undefined
          : { origin: new URL(controllerUrl).origin, username: device, password: mqttPassword },
      onTraffic: ({ rxBytes, txBytes }) => {
        this.traffic.rxBytes += rxBytes
        this.traffic.txBytes += txBytes
      },
    })
  }

  /**
   * Find what a slot can run: the version that was committed last where it is whole.
   *
   * @throws {IntegrityError} If the family that came with the software is not what its manifest says.
   */
  async open({ slot, familyDir }: SlotConfig): Promise<OpenedSlot> {
    const { config, onEvent } = this.#options
    const folder = resolve(familyDir ?? config.familyDir)
    const installed: Version = { family: await openFamily(folder, this.#check), folder }
    const installedDigest = installed.family.manifestDigest
    const path = join(config.dataDir, 'update', slot)
    const file = new PairedFile<UpdateState>(path, 'update state', updateStateSchema)
    const state =
      file.load(({ message }) => onEvent({ kind: 'store-decayed', slot, message: message.slice(0, 1000) })) ??
      fresh({ installed: installedDigest, maxStarts: config.safeAfterStarts })
    const { digest, damage } = await findRunnable(state, { store: this.#store, installed: installedDigest })
    const running =
      digest === installedDigest
        ? installed
        : { family: await this.#store.open(digest), folder: await this.#store.folderOf(digest) }
    return { installed, running, damage, state, file }
  }

  manage(
    parts: OpenedSlot & {
      readonly slot: Slot
      readonly supervisor: WorkerSupervisor
      readonly defaultPlan: (family: Family) => Plan
      readonly refusalOf: (plan: Plan, family: Family) => string | undefined
    },
  ): SlotUpdates {
    const { config, random, monotonicMs, planFor, onEvent, onCommitted } = this.#options
    const updates = new SlotUpdates(
      {
        ...parts,
        store: this.#store,
        maxStarts: config.safeAfterStarts,
        planFor: (family) => planFor(parts.slot.config.slot, family),
        monotonicMs,
        onEvent,
        onCommitted,
        fetching: {
          disk,
          get: this.#http.get,
          defaultUrl: (digest) => `${config.controllerUrl.replace(/\/$/, '')}/api/v1/families/${digest}/`,
          isSigned: config.familyKey !== undefined,
          pinned: () => new Set(this.#slots.flatMap((each) => each.pinned())),
          findObstacle: (needs) => this.#findObstacle(needs),
          random,
        },
      },
      new SecondsRecorder(),
    )
    this.#slots.push(updates)
    return updates
  }

  close(): void {
    this.#http.close()
  }

  #findObstacle(needs: { readonly neededBytes: number; readonly remainingBytes: number }): string | undefined {
    const { config, ledger, wallMs, clk } = this.#options
    const { monthBytes, monthFetchBytes } = ledger()
    const now = { monthBytes, fetchedThisMonthBytes: monthFetchBytes, wallMs: wallMs(), clk: clk() }
    return findFetchObstacle(config, { ...needs, ...now })
  }
}
