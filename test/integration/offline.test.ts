import { join } from 'node:path'
import { runOffline } from 'espalier/bench/offline-run'
import { expect, test } from 'vitest'

const settings = {
  modelsDir: join(import.meta.dirname, '../../models'),
  devices: 2,
  seed: 11,
  learnS: 300,
  cutS: 1800,
  rateBps: 250_000,
  powerW: 3.2,
}

test('half an hour without a controller: no lease is exceeded, all is counted once, and 95 % of the utility is kept', async () => {
  const connected = await runOffline({ ...settings, isCut: false })
  const cut = await runOffline({ ...settings, isCut: true })

  expect(cut).toMatchObject({
    rateViolations: 0,
    powerViolations: 0,
    miscounted: { frames: 0, bits: 0, joules: 0 },
    miscountedEvents: 0,
  })
  // Something waited, and the leases were used: an idle fleet would keep everything too.
  expect(cut.replayed).toBeGreaterThan(100)
  expect(cut.worstRate).toBeGreaterThan(0.5)
  expect(cut.utility / connected.utility).toBeGreaterThanOrEqual(0.95)
})
