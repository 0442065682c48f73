import { dirname } from 'node:path'
import type { Disk } from '@espalier/agent/store/disk'
import type { FileCalls } from '@espalier/agent/twin/atomic-file'

/** The process is no more: nothing that it does afterwards has an effect. */
export class Ended extends Error {
  constructor() {
    super('the process has ended')
  }
}

type Write = { readonly offset: number; readonly data: Uint8Array } | { readonly length: number }

/** A file's contents: as on the medium, and what was written since. */
interface Inode {
  durable: Uint8Array
  data: Uint8Array
  pending: Write[]
}

/** A change of names that is not on the medium yet. */
interface Rename {
  readonly folders: readonly string[]
  readonly apply: (names: Map<string, Inode>) => void
}

export interface Faults {
  /** Called before each call that changes something; may throw, which then did not happen or, a write, only in part. */
  readonly beforeChange?: (what: string, path: string) => void
  /** Called before every call; throws once the process has ended. */
  readonly beforeCall?: () => void
  /** Bytes that the disk holds; Infinity: enough. */
  readonly capacity?: number
}

const SECTOR = 512

function grow(data: Uint8Array, length: number): Uint8Array {
  if (length <= data.byteLength) return data
  const grown = new Uint8Array(length)
  grown.set(data)
  return grown
}

function applied(data: Uint8Array, write: Write): Uint8Array {
  if ('length' in write) return write.length < data.byteLength ? data.slice(0, write.length) : grow(data, write.length)
  const grown = grow(data, write.offset + write.data.byteLength)
  const result = grown === data ? data.slice() : grown
  result.set(write.data, write.offset)
  return result
}

/**
 * A disk in memory that loses power as a journalling file system without barriers of its own may: of what was written to
 * a file and not synced, each write survives, is torn at a sector, or leaves its length and no contents; of
 * changed names that were not synced with their folder, only those before some moment survive. Stricter than ext4, where
 * syncing a new file keeps its name too.
 */
export class SimulatedDisk implements Disk, FileCalls {
  #names = new Map<string, Inode>()
  #durableNames = new Map<string, Inode>()
  #changes: Rename[] = []
  readonly #open = new Map<number, { readonly path: string; readonly inode: Inode | undefined; offset: number }>()
  #nextFd = 3
  faults: Faults = {}
  readonly counts = { calls: 0, writtenBytes: 0, syncs: 0 }

  /** Lose power, or not even that: a kill leaves to the kernel what was written. */
  restart({ hasPower, random }: { readonly hasPower: boolean; readonly random: () => number }): void {
    this.#open.clear()
    this.faults = {}
    if (hasPower) return
    const kept = Math.floor(random() * (this.#changes.length + 1))
    for (const { apply } of this.#changes.slice(0, kept)) apply(this.#durableNames)
    this.#changes = []
    this.#names = new Map(this.#durableNames)
    for (const inode of new Set(this.#names.values())) {
      for (const write of inode.pending) inode.durable = survive(inode.durable, write, random)
      inode.data = inode.durable.slice()
      inode.pending = []
    }
  }

  /** Turn a bit over, as a dying card does. @returns False where there is no such byte. */
  decay(path: string, random: () => number): boolean {
    const inode = this.#names.get(path)
    if (inode === undefined || inode.data.byteLength === 0) return false
    const at = Math.floor(random() * inode.data.byteLength)
    inode.data[at] = inode.data[at]! ^ 4
    if (at < inode.durable.byteLength) inode.durable[at] = inode.data[at]!
    return true
  }

  paths(folder: string): string[] {
    return [...this.#names.keys()].filter((path) => path.startsWith(`${folder}/`))
  }

  contents(path: string): Uint8Array | undefined {
    return this.#names.get(path)?.data
  }

  // Disk

  async sizeOf(path: string): Promise<number | undefined> {
    this.#call()
    return this.#names.get(path)?.data.byteLength
  }

  async list(folder: string): Promise<string[]> {
    this.#call()
    const rest = this.paths(folder).map((path) => path.slice(folder.length + 1).split('/')[0]!)
    return [...new Set(rest)]
  }

  async readAt(path: string, offset: number, bytes: number): Promise<Uint8Array> {
    this.#call()
    return this.#find(path).data.slice(offset, offset + bytes)
  }

  read(path: string): Uint8Array
  read(path: string, offset: number, bytes: number): Promise<Uint8Array>
  read(path: string, offset?: number, bytes?: number): Uint8Array | Promise<Uint8Array> {
    if (offset !== undefined) return this.readAt(path, offset, bytes!)
    this.#call()
    return this.#find(path).data.slice()
  }

  write(fd: number, data: Uint8Array): number
  write(path: string, offset: number, data: Uint8Array): Promise<void>
  write(file: number | string, second: Uint8Array | number, data?: Uint8Array): number | Promise<void> {
    if (typeof file === 'string') return this.#writePath(file, second as number, data!)
    const open = this.#open.get(file)!
    // Short writes are part of the contract.
    const part = (second as Uint8Array).slice(0, 4096)
    this.#change('write', open.path, () => this.#put(open.inode!, { offset: open.offset, data: part }))
    open.offset += part.byteLength
    return part.byteLength
  }

  async #writePath(path: string, offset: number, data: Uint8Array): Promise<void> {
    const copy = data.slice()
    this.#change(
      'write',
      path,
      () => this.#put(this.#create(path), { offset, data: copy }),
      // A write that fails may have begun.
      () => this.#put(this.#create(path), { offset, data: copy.subarray(0, copy.byteLength >> 1) }),
    )
  }

  async truncate(path: string, bytes: number): Promise<void> {
    this.#change('truncate', path, () => this.#put(this.#find(path), { length: bytes }))
  }

  sync(fd: number): void
  sync(path: string): Promise<void>
  sync(file: number | string): void | Promise<void> {
    if (typeof file === 'string') return this.#syncPath(file)
    const { path, inode } = this.#open.get(file)!
    this.#change('sync', path, () => (inode === undefined ? this.#settle(path) : this.#flush(inode)))
  }

  async #syncPath(path: string): Promise<void> {
    this.#change('sync', path, () => this.#flush(this.#find(path)))
  }

  async syncFolder(folder: string): Promise<void> {
    this.#change('sync', folder, () => this.#settle(folder))
  }

  rename(from: string, to: string): Promise<void> {
    this.#change('rename', to, () => {
      const inode = this.#find(from)
      this.#name([dirname(from), dirname(to)], (names) => {
        names.delete(from)
        names.set(to, inode)
      })
    })
    return Promise.resolve()
  }

  async remove(path: string): Promise<void> {
    const gone = [path, ...this.paths(path)].filter((each) => this.#names.has(each))
    if (gone.length === 0) return this.#call()
    this.#change('remove', path, () =>
      this.#name(gone.map(dirname), (names) => {
        for (const each of gone) names.delete(each)
      }),
    )
  }

  async freeBytes(): Promise<number> {
    this.#call()
    return (this.faults.capacity ?? Number.POSITIVE_INFINITY) - this.#used()
  }

  // FileCalls

  makeFolder(): void {
    this.#call()
  }

  open(path: string, flags: string): number {
    this.#call()
    if (flags === 'w') {
      this.#change('open', path, () => this.#put(this.#create(path), { length: 0 }))
      this.#open.set(this.#nextFd, { path, inode: this.#find(path), offset: 0 })
    } else this.#open.set(this.#nextFd, { path, inode: this.#names.get(path), offset: 0 })
    return this.#nextFd++
  }

  close(fd: number): void {
    this.#open.delete(fd)
  }

  // Inside

  #call(): void {
    this.counts.calls++
    this.faults.beforeCall?.()
  }

  #change(what: string, path: string, work: () => void, partly: () => void = () => undefined): void {
    this.#call()
    try {
      this.faults.beforeChange?.(what, path)
    } catch (error) {
      partly()
      throw error
    }
    work()
  }

  #used(): number {
    let sum = 0
    for (const inode of new Set(this.#names.values())) sum += inode.data.byteLength
    return sum
  }

  #find(path: string): Inode {
    const inode = this.#names.get(path)
    if (inode === undefined) throw Object.assign(new Error(`ENOENT: no file "${path}"`), { code: 'ENOENT' })
    return inode
  }

  #create(path: string): Inode {
    const known = this.#names.get(path)
    if (known !== undefined) return known
    const inode: Inode = { durable: new Uint8Array(), data: new Uint8Array(), pending: [] }
    this.#name([dirname(path)], (names) => names.set(path, inode))
    return inode
  }

  #put(inode: Inode, write: Write): void {
    if ('data' in write) {
      const more = Math.max(0, write.offset + write.data.byteLength - inode.data.byteLength)
      if (
        more >
        (this.faults.capacity ?? Number.POSITIVE_INFINITY) - (more > 0 && this.faults.capacity ? this.#used() : 0)
      )
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
      this.counts.writtenBytes += write.data.byteLength
    }
    inode.data = applied(inode.data, write)
    inode.pending.push(write)
  }

  #name(folders: readonly string[], apply: Rename['apply']): void {
    apply(this.#names)
    this.#changes.push({ folders, apply })
  }

  #flush(inode: Inode): void {
    this.counts.syncs++
    if (inode.pending.length > 0) inode.durable = inode.data.slice()
    inode.pending = []
  }

  /** Names are journalled in order: with those of one folder go all that came before. */
  #settle(folder: string): void {
    this.counts.syncs++
    const last = this.#changes.findLastIndex(({ folders }) => folders.includes(folder))
    for (const { apply } of this.#changes.slice(0, last + 1)) apply(this.#durableNames)
    this.#changes = this.#changes.slice(last + 1)
  }
}

function survive(durable: Uint8Array, write: Write, random: () => number): Uint8Array {
  const fate = random()
  if (fate < 0.4) return applied(durable, write)
  if ('length' in write || fate < 0.6) return durable
  const { offset, data } = write
  // The length was in the journal, the contents were not.
  if (fate < 0.8) return grow(durable, offset + data.byteLength)
  const torn = Math.floor((random() * data.byteLength) / SECTOR) * SECTOR
  return applied(durable, { offset, data: data.subarray(0, torn) })
}
