import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { disk } from '@espalier/agent/store/disk'
import { download, type Wanted } from '@espalier/agent/store/download'
import { openHttp } from '@espalier/agent/store/http-get'
import { afterEach, beforeEach, expect, test } from 'vitest'

const BYTES = 700_000
const content = Buffer.from({ length: BYTES }, (_: unknown, i: number) => (i * 7919) % 251)
const signal = new AbortController().signal

let folder: string
let server: Server
let asked: IncomingMessage[]
let answer: (request: IncomingMessage, reply: ServerResponse) => void
let origin: string
const traffic = { rx: 0 }
const http = openHttp({
  onTraffic: ({ rxBytes }) => {
    traffic.rx += rxBytes
  },
})

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'download-'))
  asked = []
  traffic.rx = 0
  server = createServer((request, reply) => {
    asked.push(request)
    answer(request, reply)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((done) => server.close(done))
  await rm(folder, { recursive: true, force: true })
})

const wanted = (): Wanted => ({
  url: `${origin}/blob`,
  etag: 'tag',
  bytes: BYTES,
  maxBytes: BYTES,
  path: join(folder, 'blob'),
})
const fetchIt = (stallMs = 5000) => download(wanted(), { disk, get: http.get, signal, stallMs })

/** With ranges, as RFC 9110 says; broken off after so many bytes. */
const withRanges =
  (bytes = Number.POSITIVE_INFINITY) =>
  ({ headers }: IncomingMessage, reply: ServerResponse): void => {
    const start = Number(/^bytes=(\d+)-$/.exec(headers.range ?? '')?.[1] ?? 0)
    const rest = content.subarray(start)
    const range = { 'content-range': `bytes ${start}-${BYTES - 1}/${BYTES}` }
    reply.writeHead(start > 0 ? 206 : 200, { 'content-length': rest.length, ...(start > 0 ? range : {}) })
    if (rest.length <= bytes) return void reply.end(rest)
    reply.write(rest.subarray(0, bytes), () => setTimeout(() => reply.destroy(), 50))
  }

test('download() goes on at the byte where the connection broke, and pays for each byte once', async () => {
  answer = withRanges(300_000)
  const ranges: Array<string | undefined> = [undefined]
  for (;;) {
    const isThere = await fetchIt().catch((error: unknown) => {
      expect(error).toMatchObject({ code: 'TRANSPORT', retryable: true })
      return undefined
    })
    if (isThere === BYTES) break
    ranges.push(`bytes=${await disk.sizeOf(join(folder, 'blob'))}-`)
  }
  expect((await readFile(join(folder, 'blob'))).equals(content)).toBe(true)
  expect(ranges.length).toBeGreaterThan(2)
  expect(asked.map(({ headers }) => headers.range)).toEqual(ranges)
  expect(asked[1]!.headers).toMatchObject({ 'if-range': '"tag"', 'accept-encoding': 'identity' })
  // What the broken connections had on the way is lost, as on any link.
  expect(traffic.rx).toBeLessThan(1.3 * BYTES)
  // All there: nobody is asked.
  expect(await fetchIt()).toBe(BYTES)
  expect(asked).toHaveLength(ranges.length)
})

test('download() skips what is here when a proxy sends the whole again', async () => {
  await writeFile(join(folder, 'blob'), content.subarray(0, 400_001))
  answer = (_, reply) => void reply.writeHead(200, { 'content-length': BYTES }).end(content)
  expect(await fetchIt()).toBe(BYTES)
  expect((await readFile(join(folder, 'blob'))).equals(content)).toBe(true)
})

test('download() gives up on a connection that says nothing, not on a slow one, and keeps what came', async () => {
  answer = (_, reply) => {
    reply.writeHead(200, { 'content-length': BYTES })
    let at = 0
    const timer = setInterval(() => {
      // Twice the patience in all, then nothing more.
      if (at >= 160_000) return clearInterval(timer)
      reply.write(content.subarray(at, at + 4000))
      at += 4000
    }, 50)
  }
  // Long enough that a busy machine is not taken for a connection that says nothing.
  await expect(fetchIt(1000)).rejects.toThrow(/nothing came for 1 s/)
  expect(await disk.sizeOf(join(folder, 'blob'))).toBe(160_000)
})

test('download() refuses more than there should be, says what is final, and begins anew what is too long', async () => {
  answer = (_, reply) => void reply.end(Buffer.concat([content, content]))
  await expect(fetchIt()).rejects.toMatchObject({ code: 'INTEGRITY' })
  for (const [status, retryable] of [
    [404, false],
    [401, false],
    [503, true],
    [429, true],
  ] as const) {
    answer = (_, reply) => void reply.writeHead(status).end()
    await rm(join(folder, 'blob'), { force: true })
    await expect(fetchIt()).rejects.toMatchObject({ code: 'TRANSPORT', retryable })
  }
  await writeFile(join(folder, 'blob'), Buffer.concat([content, content]))
  answer = (_, reply) => void reply.writeHead(416, { 'content-range': `bytes */${BYTES}` }).end()
  await expect(fetchIt()).rejects.toMatchObject({ retryable: true })
  answer = withRanges()
  expect(await fetchIt()).toBe(BYTES)
})

test('openHttp() gives the password to its own origin, and to nobody that this one points to', async () => {
  const other = createServer((request, reply) => {
    asked.push(request)
    reply.end('there')
  })
  await new Promise<void>((done) => other.listen(0, '127.0.0.1', done))
  const elsewhere = `http://127.0.0.1:${(other.address() as AddressInfo).port}/blob`
  const { get, close } = openHttp({
    credentials: { origin, username: 'cam-7', password: 'secret' },
    onTraffic: () => undefined,
  })
  answer = (_, reply) => void reply.writeHead(302, { location: elsewhere }).end()
  const { body, status } = await get(`${origin}/blob`, { headers: {}, signal })
  for await (const _ of body);
  expect(status).toBe(200)
  expect(asked.map(({ headers }) => headers.authorization)).toEqual([
    `Basic ${Buffer.from('cam-7:secret').toString('base64')}`,
    undefined,
  ])
  close()
  await new Promise((done) => other.close(done))
})
