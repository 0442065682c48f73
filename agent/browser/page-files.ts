import { describeError, StoreError } from '@espalier/shared/errors'

const STORE = 'files'

type Change = { readonly path: string; readonly data: Uint8Array | undefined }

function promised<Value>(request: IDBRequest<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/**
 * Small files of a page: read from memory, written to IndexedDB behind. The agent's parts read and write without
 * waiting, as files of a computer allow; a browser has no such thing outside workers. So a write is in the database some
 * milliseconds after the call, in the order of the calls and those made together all or none: a tab that is killed
 * comes back with a state that it once had whole, at worst a moment old.
 */
export class PageFiles {
  readonly #database: IDBDatabase
  readonly #held: Map<string, Uint8Array>
  readonly #onError: (error: StoreError) => void
  #waiting: Change[] = []
  #writing: Promise<void> | undefined

  private constructor(database: IDBDatabase, held: Map<string, Uint8Array>, onError: (error: StoreError) => void) {
    this.#database = database
    this.#held = held
    this.#onError = onError
  }

  /**
   * @param onError Told when the browser refuses a write: the files go on in memory, until the page is closed.
   * @throws {StoreError} If the browser gives no database, as in some private windows.
   */
  static async open(name: string, onError: (error: StoreError) => void): Promise<PageFiles> {
    try {
      const opening = indexedDB.open(name, 1)
      opening.onupgradeneeded = () => opening.result.createObjectStore(STORE)
      const database = await promised(opening)
      const store = database.transaction(STORE).objectStore(STORE)
      const [paths, contents] = await Promise.all([promised(store.getAllKeys()), promised(store.getAll())])
      const held = new Map(paths.map((path, i) => [String(path), contents[i] as Uint8Array]))
      return new PageFiles(database, held, onError)
    } catch (cause) {
      throw new StoreError(`Cannot open the browser's database "${name}": ${describeError(cause)}`, {
        cause,
        retryable: false,
      })
    }
  }

  read(path: string): Uint8Array | undefined {
    return this.#held.get(path)
  }

  /** Names directly in a folder. */
  list(folder: string): string[] {
    const prefix = `${folder}/`
    const names = [...this.#held.keys()]
      .filter((path) => path.startsWith(prefix))
      .map((path) => path.slice(prefix.length))
    return [...new Set(names.map((name) => name.split('/')[0]!))]
  }

  write(path: string, data: Uint8Array): void {
    this.#held.set(path, data)
    this.#change({ path, data })
  }

  remove(path: string): void {
    this.#held.delete(path)
    this.#change({ path, data: undefined })
  }

  move(from: string, to: string): void {
    this.write(to, this.#held.get(from)!)
    this.remove(from)
  }

  /** Resolves when everything is in the database. */
  async close(): Promise<void> {
    await this.#writing
    this.#database.close()
  }

  #change(change: Change): void {
    this.#waiting.push(change)
    this.#writing ??= this.#writeAll()
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      // What one call of the agent does in several steps goes in one transaction: it is over when this resumes.
      await Promise.resolve()
      const changes = this.#waiting.splice(0)
      try {
        await new Promise<void>((resolve, reject) => {
          const transaction = this.#database.transaction(STORE, 'readwrite')
          const store = transaction.objectStore(STORE)
          for (const { path, data } of changes)
            if (data === undefined) store.delete(path)
            else store.put(data, path)
          transaction.oncomplete = () => resolve()
          transaction.onabort = () => reject(transaction.error)
        })
      } catch (cause) {
        this.#onError(
          new StoreError(`Cannot write "${changes[0]!.path}": ${describeError(cause)}`, { cause, retryable: true }),
        )
      }
    }
    this.#writing = undefined
  }
}

let opened: PageFiles | undefined

/** Those that the agent's parts use. */
export function useFiles(files: PageFiles): void {
  opened = files
}

export function files(): PageFiles {
  if (opened === undefined) throw new StoreError('Cannot use files: none are open yet', { retryable: false })
  return opened
}
