import { spawn } from 'node:child_process'
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Spool, type SpoolRecord } from '@espalier/agent/spool/spool'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const BUILT_SPOOL = join(import.meta.dirname, '../../../agent/dist/spool/spool.js')
const LARGE = 1024 * 1024

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'spool-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const event = (seq: number): SpoolRecord => ({ kind: 'event', message: JSON.stringify({ boot: 'b', seq }) })
const append = (spool: Spool, seq: number): void => spool.append(event(seq), { isDurable: false })

function drain(spool: Spool): number[] {
  const seqs: number[] = []
  for (let record = spool.peek(); record !== undefined; record = spool.peek()) {
    seqs.push(JSON.parse(record.message).seq)
    spool.remove(record)
  }
  return seqs
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i)

describe('Spool', () => {
  test('gives back what was put in, oldest first, and leaves nothing on disk', () => {
    const spool = new Spool(folder, LARGE)
    for (const seq of range(0, 50)) append(spool, seq)

    expect(drain(spool)).toEqual(range(0, 50))
    expect(spool.bytes).toBe(0)
    expect(readdirSync(folder)).toEqual([])
  })

  test('continues in order after the process was replaced', () => {
    const first = new Spool(folder, LARGE)
    for (const seq of range(0, 5)) append(first, seq)
    first.close()
    const second = new Spool(folder, LARGE)
    append(second, 5)

    expect(drain(second)).toEqual(range(0, 6))
  })

  test('tolerates a last record that was cut at any byte', () => {
    const first = new Spool(folder, LARGE)
    for (const seq of range(0, 3)) append(first, seq)
    first.close()
    const path = join(folder, readdirSync(folder)[0]!)
    const whole = readFileSync(path)
    const lastStart = whole.subarray(0, -1).lastIndexOf(0x0a) + 1
    for (let bytes = lastStart; bytes < whole.length; bytes++) {
      writeFileSync(path, whole)
      truncateSync(path, bytes)
      const reopened = new Spool(folder, LARGE)
      expect(reopened.dropped).toBe(0)
      expect(drain(reopened)).toEqual([0, 1])
    }
  })

  test('drops and counts a damaged record, and keeps its neighbours', () => {
    const first = new Spool(folder, LARGE)
    for (const seq of range(0, 3)) append(first, seq)
    first.close()
    const path = join(folder, readdirSync(folder)[0]!)
    writeFileSync(path, readFileSync(path, 'utf8').replace('"seq":1', '"seq":7'))

    const reopened = new Spool(folder, LARGE)
    expect(drain(reopened)).toEqual([0, 2])
    expect(reopened.dropped).toBe(1)
  })

  test('stays within its bound by dropping the oldest, and counts them', () => {
    fc.assert(
      fc.property(fc.integer({ min: 500, max: 5000 }), fc.integer({ min: 1, max: 300 }), (maxBytes, count) => {
        const place = mkdtempSync(join(folder, 'p-'))
        const spool = new Spool(place, maxBytes)
        for (const seq of range(0, count)) {
          append(spool, seq)
          expect(spool.bytes).toBeLessThanOrEqual(maxBytes)
        }
        const { dropped } = spool
        expect(drain(spool)).toEqual(range(dropped, count))
      }),
      { numRuns: 30 },
    )
  })

  test('does not remove a record that gave way while it was being delivered', () => {
    const spool = new Spool(folder, 600)
    append(spool, 0)
    const inFlight = spool.peek()!
    for (const seq of range(1, 60)) append(spool, seq)
    const next = spool.peek()
    spool.remove(inFlight)

    expect(spool.peek()).toBe(next)
  })

  test('loses nothing that was appended when the process is killed, and counts nothing twice', async () => {
    const script = `
      import { Spool } from ${JSON.stringify(BUILT_SPOOL)}
      const spool = new Spool(process.argv[1], ${LARGE})
      for (let seq = 0; ; seq++) {
        spool.append({ kind: 'event', message: JSON.stringify({ boot: 'b', seq }) }, { isDurable: false })
        process.stdout.write(seq + '\\n')
        if (seq > 20) spool.remove(spool.peek())
        if (seq % 10 === 0) await new Promise((done) => setTimeout(done, 1))
      }`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    while (said.split('\n').length < 40) await delay(5)
    child.kill('SIGKILL')
    await new Promise((done) => child.once('close', done))
    const appended = Number(said.split('\n').at(-2))

    // The receiver's rule: by (boot, seq), so a second delivery changes nothing.
    const replayed = drain(new Spool(folder, LARGE))
    expect(replayed).toEqual([...new Set(replayed)].sort((a, b) => a - b))
    expect(replayed).toEqual(expect.arrayContaining(range(Math.max(0, appended - 20), appended + 1)))
  })

  test('starts a new segment after one that a kill left open, so old bytes are never appended to', () => {
    const first = new Spool(folder, LARGE)
    append(first, 0)
    first.close()
    appendFileSync(join(folder, readdirSync(folder)[0]!), '0badc0de event {"se')
    const second = new Spool(folder, LARGE)
    append(second, 1)
    second.close()

    expect(drain(new Spool(folder, LARGE))).toEqual([0, 1])
  })
})
