import { createHash } from 'node:crypto'
import { FamilyStore } from '@espalier/agent/store/family-store'
import { PairedFile } from '@espalier/agent/twin/paired-file'
import { findRunnable } from '@espalier/agent/update/find-runnable'
import { storeExecutors } from '@espalier/agent/update/store-executors'
import { fresh, type UpdateEvent } from '@espalier/agent/update/transition'
import { isResting, pinnedBy, type UpdateState, updateStateSchema } from '@espalier/agent/update/update-state'
import { type Executors, Updater } from '@espalier/agent/update/updater'
import { IntegrityError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import { deviceBlobs } from '@espalier/shared/manifest/device-blobs'
import { openFamily } from '@espalier/shared/manifest/open-family'
import type { SampleVersion } from './sample-versions.ts'
import { seededRandom } from './seeded-random.ts'
import { Ended, SimulatedDisk } from './simulated-disk.ts'
import { SimulatedServer } from './simulated-server.ts'

export const STAGES = ['fetch', 'verify', 'warm', 'trial', 'commit'] as const
export type Stage = (typeof STAGES)[number]

/** What goes wrong besides kills and the cuts of the link. */
export const TROUBLES = [
  'none',
  /** Writes, syncs and renames fail from the k-th on, for a while. */
  'failing writes',
  /** Bytes are altered on the way, once. */
  'altered once',
  /** A blob is wrong at the source. */
  'wrong at the source',
  /** A bit of a blob turns over on the disk. */
  'decay',
  /** Golden outputs differ. */
  'unfit version',
  /** The trial is judged against it. */
  'regressing version',
  /** A proxy that knows no ranges. */
  'no ranges',
] as const
export type Trouble = (typeof TROUBLES)[number]

export interface PowerCutRun {
  readonly seed: number
  readonly trouble: Trouble
  readonly kills: ReadonlyArray<{ readonly stage: Stage; readonly kind: 'kill' | 'power' }>
  /** Of the version that was ordered, on the wire; and what of it the device did not have. */
  readonly carriedBytes: number
  readonly neededBytes: number
  readonly outcome: 'new version' | 'rolled back' | 'other'
  /** Starts, the last one included, after which no version could be opened whole. */
  readonly unrunnable: number
  /** Files in `blobs/` with other bytes than their name says, that nobody altered there. */
  readonly corrupt: number
  readonly starts: number
  readonly connections: number
  readonly writtenBytes: number
  readonly syncs: number
}

export interface Versions {
  readonly installed: SampleVersion
  readonly before: SampleVersion
  readonly ordered: SampleVersion
}

const STORE = '/data/store'
const LINK_BYTES_PER_SECOND = 60_000
const CUT_EVERY_MS = 10_000
const TRIAL_SECONDS = 12
/** Nothing takes as many steps: a run that does is stuck. */
const MAX_TICKS = 400_000

interface Schedule {
  readonly stage: Stage
  readonly tick: number
  readonly kind: 'kill' | 'power'
}

const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')

/** One device with its disk, its link and its server, over kills. Only what is below `executors` is made up: workers and time. */
class SimulatedDevice {
  readonly #versions: Versions
  readonly #trouble: Trouble
  readonly #random: () => number
  readonly disk = new SimulatedDisk()
  readonly server: SimulatedServer
  #nowMs = 0
  #ticks = new Map<Stage, number>()
  #stage: Stage = 'fetch'
  #isCounting = false
  #kill: Schedule | undefined
  #hasEnded = false
  #changes = 0
  #failing: { readonly from: number; readonly to: number; readonly code: string } | undefined
  #updater: Updater | undefined
  readonly #altered = new Set<string>()
  readonly decayed = new Set<string>()
  unrunnable = 0
  starts = 0
  #hasDecayed = false

  constructor(versions: Versions, trouble: Trouble, random: () => number) {
    this.#versions = versions
    this.#trouble = trouble
    this.#random = random
    const files = new Map<string, Uint8Array>()
    for (const { digest, files: named } of [versions.before, versions.ordered])
      for (const [name, bytes] of named) files.set(`${digest}/${name}`, bytes)
    const victim = [...versions.ordered.files.keys()].filter((name) => name.startsWith('blobs/'))
    const wrong = `${versions.ordered.digest}/${victim.at(-9)}`
    this.server = new SimulatedServer({
      files,
      bytesPerSecond: LINK_BYTES_PER_SECOND,
      cutEveryMs: CUT_EVERY_MS,
      nowMs: () => this.#nowMs,
      advance: (ms) => {
        this.#nowMs += ms
      },
      onChunk: () => this.#tick(),
      ignoresRanges: trouble === 'no ranges',
      alter: (path, bytes) => {
        if (path !== wrong) return bytes
        if (trouble === 'altered once' && this.#altered.has(path)) return bytes
        if (trouble !== 'altered once' && trouble !== 'wrong at the source') return bytes
        this.#altered.add(path)
        const other = bytes.slice()
        other[0]! ^= 1
        return other
      },
    })
    for (const [name, bytes] of versions.installed.files) this.#install(`/installed/${name}`, bytes)
  }

  #install(path: string, bytes: Uint8Array): void {
    void this.disk.write(path, 0, bytes)
    void this.disk.sync(path)
    void this.disk.syncFolder(path.slice(0, path.lastIndexOf('/')))
  }

  get state(): UpdateState {
    return this.#updater!.state
  }

  /** Ticks of each stage since counting began. */
  get ticks(): ReadonlyMap<Stage, number> {
    return this.#ticks
  }

  /** Changes of the disk since counting began. */
  get changes(): number {
    return this.#changes
  }

  count(): void {
    this.#isCounting = true
    this.#ticks = new Map()
    this.#changes = 0
  }

  failWrites(from: number, to: number, code: string): void {
    this.#failing = { from, to, code }
  }

  /**
   * Start, take an order, and go on until there is rest or the process is ended.
   *
   * @returns Whether it came to rest.
   */
  async run(order: Digest, kill: Schedule | undefined): Promise<boolean> {
    const { installed } = this.#versions
    this.starts++
    this.#hasEnded = false
    this.#kill = kill && { ...kill, tick: (this.#ticks.get(kill.stage) ?? 0) + kill.tick }
    this.#stage = 'fetch'
    this.disk.faults = { beforeCall: () => this.#tick(), beforeChange: (what, path) => this.#change(what, path) }
    const store = new FamilyStore({
      disk: this.disk,
      folder: STORE,
      installed: ['/installed'],
      maxBytes: 1e9,
      reserveBytes: 0,
      linkFolder: async () => undefined,
    })
    const context = { installed: installed.digest, maxStarts: 5 }
    const file = new PairedFile<UpdateState>('/data/update/cam0', 'update', updateStateSchema, this.disk)
    try {
      const state = file.load(() => undefined) ?? fresh(context)
      const { digest, damage } = await findRunnable(state, { store, installed: installed.digest })
      await this.#checkRunnable(digest)
      const updater = new Updater({
        file,
        state,
        context,
        onUnwritten: () => undefined,
        sleep: (ms) => this.#sleep(ms),
        executors: this.#executors(store),
      })
      this.#updater = updater
      updater.dispatch({ kind: 'started' })
      if (damage !== undefined) updater.dispatch({ kind: 'damaged', reason: damage })
      // The broker retains it.
      updater.dispatch({ kind: 'ordered', order: { manifestDigest: order } })
      while (!this.#hasEnded) {
        await updater.settled()
        if (isResting(updater.state) && updater.state.phase !== 'idle') break
        await new Promise((done) => setImmediate(done))
      }
      await updater.stop()
    } catch (error) {
      if (!(error instanceof Ended)) throw error
    }
    if (this.#hasEnded) await this.#updater?.stop()
    return !this.#hasEnded
  }

  restart(kind: 'kill' | 'power'): void {
    this.disk.restart({ hasPower: kind === 'kill', random: this.#random })
  }

  /** Open what a start chose, without the store's own words for it. */
  async #checkRunnable(digest: Digest): Promise<void> {
    if (digest === this.#versions.installed.digest) return
    const at = (name: string) =>
      name.startsWith('blobs/') ? `${STORE}/${name}` : `${STORE}/families/${digest}/${name}`
    const source = async (name: string) => this.disk.contents(at(name)) ?? Promise.reject(new Error(`no ${name}`))
    try {
      const family = await openFamily(source)
      if (family.manifestDigest !== digest) throw new IntegrityError('another manifest')
      for (const entry of deviceBlobs(family.manifest)) await family.readBlob(entry)
    } catch {
      this.unrunnable++
    }
  }

  /** Blobs that are not what their name says, and that no decay of ours altered. */
  corruptBlobs(): string[] {
    return this.disk
      .paths(`${STORE}/blobs`)
      .filter((path) => !this.decayed.has(path) && sha256(this.disk.contents(path)!) !== path.split('/').at(-1))
  }

  #executors(store: FamilyStore): Executors {
    return {
      ...storeExecutors({
        store,
        disk: this.disk,
        get: this.server.get,
        defaultUrl: (digest) => `http://controller/${digest}/`,
        isSigned: false,
        pinned: () => new Set(pinnedBy(this.state)),
        findObstacle: () => undefined,
        random: this.#random,
        sleep: (ms) => this.#sleep(ms),
        onProgress: () => undefined,
      }),
      verify: async (step, signal) => {
        this.#stage = 'verify'
        this.#decaySometimes()
        const { verify } = storeExecutors({ store } as Parameters<typeof storeExecutors>[0])
        return verify(step, signal)
      },
      warm: async ({ digest }): Promise<UpdateEvent> => {
        this.#stage = 'warm'
        // What a worker does: open the family and read each blob, which hashes it once more.
        try {
          const family = await openFamily(store.sourceOf(digest))
          for (const entry of deviceBlobs(family.manifest)) await family.readBlob(entry)
        } catch (error) {
          if (!(error instanceof IntegrityError)) throw error
          return { kind: 'corrupt', reason: error.message }
        }
        await this.#sleep(2000)
        const isOrdered = digest === this.#versions.ordered.digest
        if (this.#trouble === 'unfit version' && isOrdered) return { kind: 'unfit', reason: 'golden outputs differ' }
        return { kind: 'warmed' }
      },
      try: async ({ digest }): Promise<UpdateEvent> => {
        this.#stage = 'trial'
        for (let second = 0; second < TRIAL_SECONDS; second++) await this.#sleep(1000)
        if (this.#trouble === 'regressing version' && digest === this.#versions.ordered.digest)
          return { kind: 'regressed', reason: 'p95 latency', evidence: {} }
        this.#stage = 'commit'
        return { kind: 'passed', evidence: {} }
      },
      adopt: () => undefined,
      giveBack: () => undefined,
      discard: () => undefined,
      activate: async ({ digest }) => this.#checkRunnable(digest),
      tell: () => undefined,
    }
  }

  #decaySometimes(): void {
    if (this.#trouble !== 'decay' || this.#hasDecayed || !this.#isCounting) return
    this.#hasDecayed = true
    const paths = this.disk.paths(`${STORE}/blobs`)
    const path = paths[Math.floor(this.#random() * paths.length)]
    if (path !== undefined && this.disk.decay(path, this.#random)) this.decayed.add(path)
  }

  async #sleep(ms: number): Promise<void> {
    this.#nowMs += ms
    this.#tick()
  }

  /** A moment at which the process may be ended. */
  #tick(): void {
    if (this.#hasEnded) throw new Ended()
    const ticks = (this.#ticks.get(this.#stage) ?? 0) + 1
    if (this.#isCounting) this.#ticks.set(this.#stage, ticks)
    if (ticks > MAX_TICKS) throw new Error(`Stuck in stage "${this.#stage}"`)
    if (this.#kill?.stage !== this.#stage || ticks !== this.#kill.tick) return
    this.#hasEnded = true
    void this.#updater?.stop()
    throw new Ended()
  }

  #change(_what: string, _path: string): void {
    if (!this.#isCounting) return
    this.#changes++
    const failing = this.#failing
    if (failing === undefined || this.#changes < failing.from || this.#changes >= failing.to) return
    throw Object.assign(new Error(`${failing.code}: the disk fails`), { code: failing.code })
  }
}

async function settleBefore(device: SimulatedDevice, versions: Versions, hasUpdatedBefore: boolean): Promise<void> {
  if (hasUpdatedBefore) await device.run(versions.before.digest, undefined)
}

/** Bytes that the device does not have of what is ordered. */
async function neededBytesOf(versions: Versions, hasUpdatedBefore: boolean): Promise<number> {
  const { files, digest } = versions.ordered
  const { manifest, manifestDigest } = await openFamily(async (name) => files.get(name)!)
  if (manifestDigest !== digest) throw new IntegrityError('another manifest')
  const here = [versions.installed, ...(hasUpdatedBefore ? [versions.before] : [])]
  const missing = deviceBlobs(manifest).filter(({ sha256: name }) =>
    here.every((each) => !each.files.has(`blobs/${name}`)),
  )
  return missing.reduce((sum, { bytes }) => sum + bytes, files.get('manifest.json')!.byteLength)
}

/** One device from an order to rest, over kills and faults that follow from the seed alone. */
export async function runPowerCut(seed: number, versions: Versions): Promise<PowerCutRun> {
  const random = seededRandom(seed)
  const pick = <T>(values: readonly T[]): T => values[Math.floor(random() * values.length)]!
  // Half of the runs have no trouble but kills and cuts of the link.
  const trouble = random() < 0.5 ? 'none' : pick(TROUBLES.slice(1))
  const hasUpdatedBefore = random() < 0.3

  // The same without a kill: how long each stage is.
  const rehearsal = new SimulatedDevice(versions, trouble, seededRandom(seed + 0.5))
  await settleBefore(rehearsal, versions, hasUpdatedBefore)
  rehearsal.count()
  await rehearsal.run(versions.ordered.digest, undefined)

  const device = new SimulatedDevice(versions, trouble, seededRandom(seed + 0.25))
  await settleBefore(device, versions, hasUpdatedBefore)
  device.count()
  const before = { ...device.disk.counts, carried: device.server.carriedBytes, starts: device.starts }
  if (trouble === 'failing writes') {
    const from = 1 + Math.floor(random() * rehearsal.changes)
    device.failWrites(from, from + 1 + Math.floor(random() * 6), pick(['ENOSPC', 'EIO']))
  }
  const kills: Array<{ stage: Stage; kind: 'kill' | 'power' }> = []
  const planned = 1 + Math.floor(random() * 3)
  let corrupt = 0
  for (let start = 0; ; start++) {
    const stages = STAGES.filter((stage) => (rehearsal.ticks.get(stage) ?? 0) > 0)
    const stage = pick(stages)
    const kind = pick(['kill', 'power'] as const)
    const tick = 1 + Math.floor(random() * rehearsal.ticks.get(stage)!)
    const hasRested = await device.run(versions.ordered.digest, start < planned ? { stage, kind, tick } : undefined)
    if (!hasRested) {
      kills.push({ stage, kind })
      device.restart(kind)
      corrupt += device.corruptBlobs().length
      continue
    }
    corrupt += device.corruptBlobs().length
    if (start >= planned || random() < 0.5) break
    // At rest, too, the power may go.
    device.restart('power')
    kills.push({ stage: 'commit', kind: 'power' })
    if (start + 1 >= planned) {
      await device.run(versions.ordered.digest, undefined)
      break
    }
  }
  const { running, phase } = device.state
  const isNew = phase === 'committed' && running === versions.ordered.digest
  return {
    seed,
    trouble,
    kills,
    carriedBytes: device.server.carriedBytes - before.carried,
    neededBytes: await neededBytesOf(versions, hasUpdatedBefore),
    outcome: isNew ? 'new version' : phase === 'rolled-back' ? 'rolled back' : 'other',
    unrunnable: device.unrunnable,
    corrupt: corrupt + device.corruptBlobs().length,
    starts: device.starts - before.starts,
    connections: device.server.requests,
    writtenBytes: device.disk.counts.writtenBytes - before.writtenBytes,
    syncs: device.disk.counts.syncs - before.syncs,
  }
}
