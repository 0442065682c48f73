import { runPowerCut } from 'espalier/bench/power-cut-run'
import { makeSampleVersion } from 'espalier/bench/sample-versions'
import { expect, test } from 'vitest'

test('12 devices that lose power at random points of an update all run, and take no corrupt blob', async () => {
  const [installed, before, ordered] = await Promise.all([0, 1, 2].map(makeSampleVersion))
  for (let seed = 2001; seed <= 2012; seed++) {
    const run = await runPowerCut(seed, { installed: installed!, before: before!, ordered: ordered! })
    expect(run, `seed ${seed}`).toMatchObject({ unrunnable: 0, corrupt: 0 })
    expect(run.outcome, `seed ${seed}`).not.toBe('other')
  }
})
