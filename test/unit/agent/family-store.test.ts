import { join } from 'node:path'
import { FamilyStore } from '@espalier/agent/store/family-store'
import { findFetchObstacle } from '@espalier/agent/store/fetch-policy'
import { fetchVersion } from '@espalier/agent/store/fetch-version'
import type { HttpGet } from '@espalier/agent/store/http-get'
import { PairedFile } from '@espalier/agent/twin/paired-file'
import { makePrivateKey, parsePrivateKey, publicKeyText } from '@espalier/shared/signature/keys'
import { requireSignature, signManifest } from '@espalier/shared/signature/manifest-signature'
import { makeSampleVersion, type SampleVersion } from 'espalier/bench/sample-versions'
import { seededRandom } from 'espalier/bench/seeded-random'
import { SimulatedDisk } from 'espalier/bench/simulated-disk'
import { beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'

let versions: SampleVersion[]
beforeAll(async () => {
  versions = await Promise.all([0, 1, 2, 3].map(makeSampleVersion))
})

const signal = new AbortController().signal

/** All versions by `/<digest>/<name>`, and what was asked for. */
function serve(extra: ReadonlyMap<string, Uint8Array> = new Map()): { get: HttpGet; asked: string[] } {
  const asked: string[] = []
  const get: HttpGet = async (url) => {
    const path = new URL(url).pathname.slice(1)
    asked.push(path)
    const [digest, ...rest] = path.split('/')
    const bytes =
      extra.get(rest.join('/')) ?? versions.find((version) => version.digest === digest)?.files.get(rest.join('/'))
    return {
      status: bytes === undefined ? 404 : 200,
      headers: bytes === undefined ? {} : { 'content-length': String(bytes.byteLength) },
      body: (async function* () {
        if (bytes !== undefined) yield bytes
      })(),
    }
  }
  return { get, asked }
}

function open(disk: SimulatedDisk, options: Partial<ConstructorParameters<typeof FamilyStore>[0]> = {}): FamilyStore {
  const common = {
    folder: '/store',
    installed: ['/installed'],
    maxBytes: 1e9,
    reserveBytes: 0,
    linkFolder: async () => undefined,
  }
  return new FamilyStore({ disk, ...common, ...options })
}

const fetchInto = (
  disk: SimulatedDisk,
  store: FamilyStore,
  { digest }: SampleVersion,
  options: Partial<Parameters<typeof fetchVersion>[0]> = {},
) =>
  fetchVersion({
    store,
    disk,
    get: serve().get,
    url: `http://server/${digest}`,
    manifestDigest: digest,
    isSigned: false,
    pinned: new Set(),
    findObstacle: () => undefined,
    signal,
    onProgress: () => undefined,
    random: () => 0.5,
    sleep: async () => undefined,
    ...options,
  })

async function install(disk: SimulatedDisk, { files }: SampleVersion): Promise<void> {
  for (const [name, bytes] of files) {
    await disk.write(join('/installed', name), 0, bytes)
    await disk.sync(join('/installed', name))
    await disk.syncFolder(join('/installed', name, '..'))
  }
}

describe('FamilyStore', () => {
  test('holds all of a version, or what was there, whichever change of the disk fails first, second, third...', async () => {
    const [, version] = versions
    const base = new SimulatedDisk()
    const store = open(base)
    let changes = 0
    base.faults = { beforeChange: () => void changes++ }
    await fetchInto(base, store, version!)
    await store.verify(version!.digest)
    // Every one would take a minute: each of the first 12, then every 17th; the bench has random ones by the hundred.
    for (let failing = 1; failing <= changes; failing += failing < 12 ? 1 : 17) {
      const disk = new SimulatedDisk()
      let left = failing
      disk.faults = {
        beforeChange: () => {
          if (--left === 0) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
        },
      }
      await fetchInto(disk, open(disk), version!)
      // And the power goes: what a new process finds is whole.
      disk.restart({ hasPower: false, random: seededRandom(failing) })
      await open(disk).verify(version!.digest)
    }
  })

  test('does not fetch what came with the software, and fetches nothing twice', async () => {
    const disk = new SimulatedDisk()
    await install(disk, versions[0]!)
    const store = open(disk)
    const server = serve()
    await fetchInto(disk, store, versions[1]!, { get: server.get })
    const shared = [...versions[1]!.files.keys()].filter((name) => versions[0]!.files.has(name))
    expect(shared.length).toBeGreaterThan(6)
    for (const name of shared.filter((each) => each.startsWith('blobs/')))
      expect(server.asked).not.toContain(`${versions[1]!.digest}/${name}`)
    const before = server.asked.length
    await fetchInto(disk, store, versions[1]!, { get: server.get })
    expect(server.asked).toHaveLength(before)
  })

  test('makes room by letting go of the version not used for longest, and never of a pinned one', async () => {
    const disk = new SimulatedDisk()
    const bytes = 4_500_000
    const store = open(disk, { maxBytes: 2.5 * bytes })
    const [a, b, c, d] = versions.map(({ digest }) => digest)
    await fetchInto(disk, store, versions[0]!)
    await fetchInto(disk, store, versions[1]!)
    await store.touch(b!)
    await store.touch(a!)
    // `b` is older, `a` is pinned.
    await fetchInto(disk, store, versions[2]!, { pinned: new Set([a!]) })
    await store.verify(a!)
    await store.verify(c!)
    await expect(store.verify(b!)).rejects.toThrow(/manifest/)
    const waiting: string[] = []
    const stopping = new AbortController()
    const full = fetchInto(disk, store, versions[3]!, {
      pinned: new Set([a!, c!]),
      signal: stopping.signal,
      onProgress: ({ reason }) => {
        if (reason === undefined) return
        waiting.push(reason)
        stopping.abort()
      },
    })
    await expect(full).rejects.toThrow()
    expect(waiting[0]).toMatch(/room/)
    await store.verify(a!)
    await store.verify(c!)
    expect(d).toBeDefined()
  })

  test('finds a bit that turned over, throws the blob away and fetches that alone again', async () => {
    const disk = new SimulatedDisk()
    const store = open(disk)
    const version = versions[1]!
    await fetchInto(disk, store, version)
    const [path] = disk.paths('/store/blobs')
    disk.decay(path!, seededRandom(1))
    await expect(store.verify(version.digest)).rejects.toThrow(/1 blobs are absent or damaged/)
    const server = serve()
    await fetchInto(disk, store, version, { get: server.get })
    expect(server.asked).toEqual([`${version.digest}/blobs/${path!.split('/').at(-1)}`])
    await store.verify(version.digest)
  })

  test('takes no version that the trusted key did not sign, and no manifest of another digest', async () => {
    const key = parsePrivateKey(makePrivateKey(), 'test')
    const version = versions[1]!
    const text = new TextDecoder().decode(version.files.get('manifest.json'))
    const signature = new TextEncoder().encode(JSON.stringify(signManifest(text, key)))
    const disk = new SimulatedDisk()
    const trusting = open(disk, { check: requireSignature(publicKeyText(key)) })
    await fetchInto(disk, trusting, version, { isSigned: true, get: serve(new Map([['manifest.sig', signature]])).get })
    await trusting.verify(version.digest)

    const other = new SimulatedDisk()
    const suspicious = open(other, {
      check: requireSignature(publicKeyText(parsePrivateKey(makePrivateKey(), 'other'))),
    })
    const unsigned = fetchInto(other, suspicious, version, {
      isSigned: true,
      get: serve(new Map([['manifest.sig', signature]])).get,
    })
    await expect(unsigned).rejects.toMatchObject({ code: 'INTEGRITY' })
    const wrong = fetchInto(other, open(other), version, { url: `http://server/${versions[2]!.digest}` })
    await expect(wrong).rejects.toThrow(/found digest/)
    expect(other.paths('/store/families')).toEqual([])
  })

  test('gives up on a server that has no such version, and waits for one that does not answer', async () => {
    const disk = new SimulatedDisk()
    const missing = fetchInto(disk, open(disk), versions[1]!, { url: 'http://server/nowhere' })
    await expect(missing).rejects.toMatchObject({ code: 'TRANSPORT', retryable: false })
  })
})

test('findFetchObstacle() says why a download waits', () => {
  const free = {
    isLinkMetered: false,
    meteredMaxBytes: 100,
    fetchMonthlyBytes: undefined,
    monthlyBytes: undefined,
    fetchHours: undefined,
  }
  const now = {
    remainingBytes: 500,
    neededBytes: 1000,
    fetchedThisMonthBytes: 700,
    monthBytes: 900,
    wallMs: Date.UTC(2026, 10, 29, 2, 30),
    clk: 'ntp' as const,
  }
  expect(findFetchObstacle(free, now)).toBeUndefined()
  expect(findFetchObstacle({ ...free, isLinkMetered: true }, now)).toMatch(/needs 1000 bytes on a metered link/)
  expect(findFetchObstacle({ ...free, isLinkMetered: true, meteredMaxBytes: 1000 }, now)).toBeUndefined()
  expect(findFetchObstacle({ ...free, fetchMonthlyBytes: 1100 }, now)).toMatch(/next month/)
  expect(findFetchObstacle({ ...free, monthlyBytes: 1500 }, now)).toBeUndefined()
  expect(findFetchObstacle({ ...free, monthlyBytes: 1300 }, now)).toMatch(/monthlyBytes/)
  expect(findFetchObstacle({ ...free, fetchHours: { from: 1, to: 5 } }, now)).toBeUndefined()
  expect(findFetchObstacle({ ...free, fetchHours: { from: 22, to: 3 } }, now)).toBeUndefined()
  expect(findFetchObstacle({ ...free, fetchHours: { from: 3, to: 22 } }, now)).toMatch(/from 3 to 22 h UTC/)
  expect(findFetchObstacle({ ...free, fetchHours: { from: 1, to: 5 } }, { ...now, clk: 'none' })).toMatch(
    /does not know the time/,
  )
})

describe('PairedFile', () => {
  const schema = z.object({ n: z.int() })

  test('finds the old or the new state, whichever change fails and whatever a power loss leaves', () => {
    for (let failing = 1; failing < 40; failing++) {
      const disk = new SimulatedDisk()
      const file = new PairedFile('/data/x', 'state', schema, disk)
      file.save({ n: 1 })
      let left = failing
      disk.faults = {
        beforeChange: () => {
          if (--left === 0) throw Object.assign(new Error('EIO'), { code: 'EIO' })
        },
      }
      let said = 1
      for (const n of [2, 3]) {
        try {
          file.save({ n })
          said = n
        } catch {
          break
        }
      }
      disk.restart({ hasPower: false, random: seededRandom(failing) })
      const found = new PairedFile('/data/x', 'state', schema, disk).load(() => undefined)!
      expect([said, said + 1]).toContain(found.n)
    }
  })

  test('goes back by one change when a copy decays', () => {
    const disk = new SimulatedDisk()
    const file = new PairedFile('/data/x', 'state', schema, disk)
    for (const n of [1, 2, 3]) file.save({ n })
    const newest = disk.paths('/data').find((path) => new TextDecoder().decode(disk.contents(path)).includes('"n":3'))!
    disk.decay(newest, seededRandom(5))
    expect(new PairedFile('/data/x', 'state', schema, disk).load(() => undefined)).toEqual({ n: 2 })
  })
})
