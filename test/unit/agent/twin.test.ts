import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FileCalls, fileCalls, writeAtomically } from '@espalier/agent/twin/atomic-file'
import { Twin } from '@espalier/agent/twin/twin'
import { type Digest, digestSchema, slotIdSchema } from '@espalier/shared/ids'
import { desiredSchema, type Rung } from '@espalier/shared/messages/controller'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'twin-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const cam0 = slotIdSchema.parse('cam0')

const never = (): never => {
  throw new Error('the twin should be whole')
}

function desired(gen: number, slots: string[] = ['cam0'], alpha255 = gen) {
  const configuration = {
    family: 'kodo',
    variant: 'full',
    alpha255,
    mode: 'merged',
    backend: 'wasm',
    threads: 1,
    width: 64,
    height: 64,
    frameRate: 5,
  }
  return desiredSchema.parse({
    gen,
    telemetryIntervalS: 2,
    slots: slots.map((slot) => ({
      slot,
      ladder: [{ configuration, rateBps: 1, powerW: 1, utility: 1 }],
      lease: { rateBps: 1000, ttlS: 60 },
      prices: { lambda: 0, mu: 0 },
    })),
  })
}

/** Calls that work `count` times and then fail, as a full or vanished disk does. */
function failingAfter(count: number): FileCalls {
  let left = count
  const guard =
    <Args extends unknown[], Result>(call: (...args: Args) => Result) =>
    (...args: Args): Result => {
      if (left-- <= 0) throw Object.assign(new Error('EIO'), { code: 'EIO' })
      return call(...args)
    }
  return {
    ...fileCalls,
    open: guard(fileCalls.open),
    write: guard((fd, data) => fileCalls.write(fd, data.subarray(0, 7))),
    sync: guard(fileCalls.sync),
    rename: guard(fileCalls.rename),
  }
}

test('writeAtomically() leaves the old or the new file, whichever call fails', () => {
  const path = join(folder, 'state')
  const [old, changed] = ['old text that is long', 'new text']
  for (let calls = 0; ; calls++) {
    writeFileSync(path, old)
    let hasFailed = false
    try {
      writeAtomically(path, new TextEncoder().encode(changed), failingAfter(calls))
    } catch {
      hasFailed = true
    }
    expect([old, changed]).toContain(readFileSync(path, 'utf8'))
    if (!hasFailed) {
      expect(readFileSync(path, 'utf8')).toBe(changed)
      // Otherwise the loop has tested nothing.
      expect(calls).toBeGreaterThan(4)
      return
    }
  }
})

describe('Twin', () => {
  test('keeps a newer desired state over a restart and ignores older and equal ones', () => {
    const twin = new Twin(folder, never)
    expect(twin.supersede(desired(3), () => true)).toBe(true)
    expect(twin.supersede(desired(3, ['cam0'], 99), () => true)).toBe(false)
    expect(twin.supersede(desired(2), () => true)).toBe(false)

    const { state } = new Twin(folder, never)
    expect(state.gen).toBe(3)
    expect(state.telemetryIntervalS).toBe(2)
    expect(state.slots[0]!.ladder[0]!.configuration.alpha255).toBe(3)
  })

  test('keeps the last runnable state of a slot when a newer one cannot run', () => {
    const twin = new Twin(folder, never)
    twin.supersede(desired(1, ['cam0', 'cam1']), () => true)
    twin.supersede(desired(2, ['cam0', 'cam1']), ({ slot }) => slot === 'cam1')

    const { state } = new Twin(folder, never)
    const alphas = Object.fromEntries(state.slots.map((s) => [s.slot, s.ladder[0]!.configuration.alpha255]))
    expect(state.gen).toBe(2)
    expect(alphas).toEqual({ cam0: 1, cam1: 2 })
  })

  test('counts births over restarts', () => {
    expect(new Twin(folder, never).nextBirth()).toBe(1)
    const twin = new Twin(folder, never)
    expect([twin.nextBirth(), twin.nextBirth()]).toEqual([2, 3])
  })

  test('holds on to what it had when the disk refuses the new state', () => {
    new Twin(folder, never).supersede(desired(1), () => true)
    const twin = new Twin(folder, never, failingAfter(1))

    expect(() => twin.supersede(desired(2), () => true)).toThrow(expect.objectContaining({ code: 'STORE' }))
    expect(twin.state.gen).toBe(1)
    expect(new Twin(folder, never).state.gen).toBe(1)
  })

  describe('planFor()', () => {
    const [old, fresh] = [digestSchema.parse('a'.repeat(64)), digestSchema.parse('b'.repeat(64))]
    const tagged = (gen: number, manifestDigest: Digest, rateBps: number) => {
      const plain = desired(gen)
      const slots = plain.slots.map((slot) => ({
        ...slot,
        family: { manifestDigest },
        lease: { ...slot.lease, rateBps },
      }))
      return { ...plain, slots }
    }
    const alphaOf = (plan: ReturnType<Twin['planFor']>) => plan?.ladder[0]?.configuration.alpha255

    test('gives the ladder of the version that runs, within the limits that came last, also after a restart', () => {
      const twin = new Twin(folder, never)
      twin.supersede(tagged(1, old, 1000), () => true)
      twin.supersede(tagged(2, fresh, 500), () => true)

      for (const each of [twin, new Twin(folder, never)]) {
        expect(alphaOf(each.planFor(cam0, old, () => true))).toBe(1)
        expect(each.planFor(cam0, old, () => true)?.lease.rateBps).toBe(500)
        expect(alphaOf(each.planFor(cam0, fresh, () => true))).toBe(2)
      }
    })

    test('gives a version without a ladder of its own the newest that it can run', () => {
      const twin = new Twin(folder, never)
      twin.supersede(tagged(1, old, 1000), () => true)
      expect(alphaOf(twin.planFor(cam0, fresh, () => true))).toBe(1)
      expect(twin.planFor(cam0, fresh, () => false)).toBeUndefined()
      expect(twin.leaseOf(cam0)?.rateBps).toBe(1000)

      // One of its own that it cannot run any more does not stand in the way.
      twin.supersede(tagged(2, fresh, 800), () => true)
      twin.supersede(tagged(3, old, 700), () => true)
      const canRun = ({ ladder }: { ladder: readonly Rung[] }) => ladder[0]!.configuration.alpha255 !== 2
      expect(alphaOf(twin.planFor(cam0, fresh, canRun))).toBe(3)
    })

    test('knows nothing of a slot of which nobody has said anything', () => {
      const twin = new Twin(folder, never)
      expect(twin.planFor(cam0, old, () => true)).toBeUndefined()
      expect(twin.leaseOf(cam0)).toBeUndefined()
    })
  })

  test('starts empty and says so when its file is damaged', () => {
    writeFileSync(join(folder, 'twin.json'), '{"version":1,"bd":')
    const damage: string[] = []
    const twin = new Twin(folder, (error) => damage.push(error.code))

    expect(twin.state.gen).toBe(0)
    expect(damage).toEqual(['STORE'])
  })
})
