import { join } from 'node:path'
import { expect, test } from 'vitest'
import { measureRecovery, VICTIMS } from '../../cli/recovery.ts'

// Generous: other tests share the cores. `npm run bench -- recovery` holds it to ten seconds.
const LIMIT_MS = 60_000
/** Of a kill and its recovery most is waiting: two fleets share the cores. */
const FLEETS = 2
const KILLS = 20

test('killing worker, agent and controller at 20 random moments each loses no committed state', async () => {
  const modelsDir = join(import.meta.dirname, '../../models')
  const each = Array.from({ length: FLEETS }, (_, fleet) =>
    measureRecovery({ kills: KILLS / FLEETS, seed: 2 + fleet, modelsDir, limitMs: LIMIT_MS }),
  )
  const recoveries = (await Promise.all(each)).flat()
  for (const victim of VICTIMS) {
    const seconds = recoveries.filter((r) => r.victim === victim).map((r) => r.seconds)
    console.info(`${victim}: ${seconds.length} kills, worst recovery ${Math.max(...seconds).toFixed(1)} s`)
  }
  expect(recoveries).toHaveLength(KILLS * VICTIMS.length)
}, 900_000)
