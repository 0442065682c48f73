import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PowerSampler } from '@espalier/agent/meter/power-sampler'
import { ReadingRing } from '@espalier/agent/meter/reading-ring'
import { openReadingThread } from '@espalier/agent/meter/reading-thread'
import { findFastProbe } from '@espalier/agent/sensors/find-fast-probe'
import { systemFiles } from '@espalier/agent/sensors/this-system-files'
import { systemClock } from '@espalier/shared/clock'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const PACE = { periodMs: 10, costShare: 0.01 }

describe('ReadingRing', () => {
  test('hands on every reading once, in order, to who sees the same memory', () => {
    const here = new ReadingRing()
    const there = new ReadingRing(here.memory)
    const seen: Array<[number, number]> = []
    const drain = (): void => here.drain((atMs, watts) => seen.push([atMs, watts]))
    for (let i = 0; i < 10_000; i++) {
      there.put(i, i / 2, PACE)
      if (i % 1000 === 999) drain()
    }
    drain()
    expect(seen).toEqual(Array.from({ length: 10_000 }, (_, i) => [i, i / 2]))
    expect(here.periodMs).toBe(10)
    expect(here.costShare).toBe(0.01)
  })

  test('keeps the newest where nobody asks for a minute', () => {
    const ring = new ReadingRing()
    for (let i = 0; i < 6000; i++) ring.put(i, 1, PACE)
    const seen: number[] = []
    ring.drain((atMs) => seen.push(atMs))
    expect(seen.at(-1)).toBe(5999)
    expect(seen.length).toBeGreaterThan(4000)
    expect(seen).toEqual(Array.from({ length: seen.length }, (_, i) => 6000 - seen.length + i))
  })
})

describe('a sensor that is read in a thread of its own', () => {
  let root: string
  let stopping: AbortController

  const chip = (n: number): string => join(root, `sys/class/hwmon/hwmon${n}`)
  const setMilliamperes = (value: string, n = 1): void => writeFileSync(join(chip(n), 'curr1_input'), value)

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'reading-thread-'))
    stopping = new AbortController()
    mkdirSync(chip(1), { recursive: true })
    for (const [name, text] of Object.entries({ name: 'ina3221', in1_label: 'VDD_IN', in1_input: '5000' }))
      writeFileSync(join(chip(1), name), `${text}\n`)
    setMilliamperes('1000\n')
  })
  afterEach(() => {
    stopping.abort()
    rmSync(root, { recursive: true, force: true })
  })

  /** As the agent opens it; `source` is what the thread is told to read. */
  function openSampler(source = 'ina3221:VDD_IN') {
    const files = { ...systemFiles, readApart: openReadingThread }
    const { readApart, ...probe } = findFastProbe({ root, files }, 'ina3221:VDD_IN')
    const sampler = new PowerSampler(
      {
        ...probe,
        // Whether this thread or the other one read shows in who is asked.
        read: () => 7,
        readApart: (pace) =>
          source === 'ina3221:VDD_IN' ? readApart!(pace) : openReadingThread({ root, source, ...pace }),
      },
      { clock: systemClock, random: Math.random, sampleHz: 100, maxCpuShare: 1 },
    )
    const ended = sampler.run(stopping.signal)
    const take = () => sampler.take(systemClock.monotonicMs())
    return { sampler, ended, take }
  }

  /** Take until that shows: a thread needs its time to start, and more on a busy machine. */
  const until = (take: () => ReturnType<PowerSampler['take']>, isSo: (taken: ReturnType<typeof take>) => boolean) =>
    expect.poll(() => isSo(take()), { timeout: 20_000, interval: 50 }).toBe(true)

  const wattsOf = ({ joules, knownMs }: { joules: number; knownMs: number }): number => (1000 * joules) / knownMs

  test('gives the joules of what the files say, and ends when it is told to', async () => {
    const { sampler, ended, take } = openSampler()
    await until(take, (taken) => taken.readings > 3 && Math.abs(wattsOf(taken) - 5) < 1e-9)
    setMilliamperes('2000\n')
    await until(take, (taken) => taken.readings > 0 && Math.abs(wattsOf(taken) - 10) < 1e-9)
    expect(sampler.costShare).toBeGreaterThan(0)
    stopping.abort()
    await ended
    expect(take().failure).toBeUndefined()
  })

  test('says why it cannot be read, and finds it again where its number has changed', async () => {
    const { take } = openSampler()
    await until(take, ({ readings }) => readings > 3)
    setMilliamperes('-\n')
    await until(take, ({ failures, failure }) => failures > 0 && /curr1_input.*found "-"/.test(failure ?? ''))
    await until(take, ({ missingMs }) => missingMs > 0)
    renameSync(chip(1), chip(4))
    setMilliamperes('3000\n', 4)
    await until(take, (taken) => taken.readings > 3 && Math.abs(wattsOf(taken) - 15) < 1e-9)
  })

  test('is read by the program where the thread cannot', async () => {
    const { take } = openSampler('ina3221:NOWHERE')
    await until(take, (taken) => taken.readings > 3 && Math.abs(wattsOf(taken) - 7) < 1e-9)
  })
})
