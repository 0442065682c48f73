import { Settling } from '@espalier/controller/planner/settling'
import { deviceIdSchema } from '@espalier/shared/ids'
import { expect, test } from 'vitest'

const device = (i: number) => deviceIdSchema.parse(`cam-${i}`)
const extent = { sitesOf: () => ['north', 'south'], devices: 100 }
const settledKeys = (settling: Settling, nowMs: number) => {
  const isSettled = settling.at(nowMs, extent)
  return ['site:north', 'site:south', 'site:east', 'gateway:mast', 'power'].filter(isSettled)
}

test('a change on one site leaves the others, and the fleet, to be learned from', () => {
  const settling = new Settling()
  settling.changed(device(1), 'north', 1000)
  expect(settledKeys(settling, 5000)).toEqual(['site:south', 'site:east', 'power'])
  expect(settledKeys(settling, 15_000)).toEqual(['site:north', 'site:south', 'site:east', 'gateway:mast', 'power'])
})

test('a fleet of which more than a twentieth changes is not settled, and a limit that was exceeded settles first', () => {
  const settling = new Settling()
  for (let i = 0; i < 6; i++) settling.changed(device(i), 'east', 1000)
  settling.judged('site:south', 2000)
  expect(settledKeys(settling, 5000)).toEqual(['site:north', 'gateway:mast'])
  expect(settledKeys(settling, 15_500)).toEqual(['site:north', 'site:east', 'gateway:mast', 'power'])
})
