const DATABASE = 'espalier-store'
const STORE = 'files'

function promised<Value>(request: IDBRequest<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

let opening: Promise<IDBDatabase> | undefined

function database(): Promise<IDBDatabase> {
  opening ??= (async () => {
    const request = indexedDB.open(DATABASE, 1)
    request.onupgradeneeded = () => request.result.createObjectStore(STORE)
    return promised(request)
  })()
  return opening
}

/** All of one call's changes, or none. */
async function change(work: (store: IDBObjectStore) => void): Promise<void> {
  const transaction = (await database()).transaction(STORE, 'readwrite', { durability: 'strict' })
  work(transaction.objectStore(STORE))
  await new Promise<void>((resolve, reject) => {
    transaction.oncomplete = () => resolve()
    transaction.onabort = () => reject(transaction.error)
  })
}

async function reading(): Promise<IDBObjectStore> {
  return (await database()).transaction(STORE).objectStore(STORE)
}

/** Everything in a folder, at any depth. */
const inside = (folder: string): IDBKeyRange => IDBKeyRange.bound(`${folder}/`, `${folder}0`, false, true)

/** What is in the database under a path; workers read there what the page has written. */
export async function readStored(path: string): Promise<Uint8Array | undefined> {
  return promised<Uint8Array | undefined>((await reading()).get(path))
}

/** Written and not yet synced: what a power cut, or a tab that is killed, may take. */
const unsynced = new Map<string, Uint8Array>()

const contentOf = async (path: string): Promise<Uint8Array | undefined> => unsynced.get(path) ?? readStored(path)

async function sync(path: string): Promise<void> {
  const data = unsynced.get(path)
  if (data === undefined) return
  await change((store) => store.put(data, path))
  // More may have been written meanwhile.
  if (unsynced.get(path) === data) unsynced.delete(path)
}

/** Of families' files: in place of the disk of a computer. They are too large to be held in memory as `PageFiles` are. */
export const disk = {
  async sizeOf(path: string): Promise<number | undefined> {
    return (await contentOf(path))?.byteLength
  },

  async list(folder: string): Promise<string[]> {
    const stored = await promised((await reading()).getAllKeys(inside(folder)))
    const paths = [...stored.map(String), ...[...unsynced.keys()].filter((path) => path.startsWith(`${folder}/`))]
    return [...new Set(paths.map((path) => path.slice(folder.length + 1).split('/')[0]!))]
  },

  async read(path: string, offset: number, bytes: number): Promise<Uint8Array> {
    const content = await contentOf(path)
    if (content === undefined) throw Object.assign(new Error(`ENOENT: '${path}'`), { code: 'ENOENT' })
    return content.slice(offset, offset + bytes)
  },

  async write(path: string, offset: number, data: Uint8Array): Promise<void> {
    const before = (await contentOf(path)) ?? new Uint8Array()
    const whole = new Uint8Array(Math.max(before.length, offset + data.length))
    whole.set(before)
    whole.set(data, offset)
    unsynced.set(path, whole)
  },

  async truncate(path: string, bytes: number): Promise<void> {
    unsynced.set(path, ((await contentOf(path)) ?? new Uint8Array()).slice(0, bytes))
  },

  sync,

  /** Names are in the database with what they name. */
  syncFolder: async (_folder: string): Promise<void> => undefined,

  async rename(from: string, to: string): Promise<void> {
    await sync(from)
    const data = await readStored(from)
    if (data === undefined) throw Object.assign(new Error(`ENOENT: '${from}'`), { code: 'ENOENT' })
    await change((store) => {
      store.put(data, to)
      store.delete(from)
    })
  },

  async remove(path: string): Promise<void> {
    for (const each of [...unsynced.keys()]) if (each === path || each.startsWith(`${path}/`)) unsynced.delete(each)
    await change((store) => {
      store.delete(path)
      store.delete(inside(path))
    })
  },

  async freeBytes(_folder: string): Promise<number> {
    const { quota = 0, usage = 0 } = await navigator.storage.estimate()
    return quota - usage
  },
}
