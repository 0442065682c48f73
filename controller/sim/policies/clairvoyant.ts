import { worthOf } from '../fleet.ts'
import { cheapestOption, LEASE_EPOCHS, lateShare } from '../play.ts'
import type { MakePolicy } from '../policy.ts'
import { type DeviceTable, makeChoice, solveTables } from '../tables.ts'

/** The best plan of each epoch by what will be true in it. Where changes are free nothing does better. */
export const clairvoyant: MakePolicy = (fleet, world) => {
  const cheapest = cheapestOption(fleet)
  const silentFor = new Uint16Array(fleet.devices.length)
  return {
    decide({ epoch: t, planned }) {
      const siteBps = fleet.sites.map((_, s) => world.capacityBps(t, s))
      let powerW = fleet.powerCapW
      const tables = new Map<number, DeviceTable>()
      for (const [i, device] of fleet.devices.entries()) {
        const link = world.link(t, i)
        silentFor[i] = link === 'up' ? 0 : silentFor[i]! + 1
        if (link === 'cut') {
          const j = silentFor[i]! > LEASE_EPOCHS ? cheapest : planned[i]!
          siteBps[device.site]! -= world.rateBps(t, i, j)
          powerW -= world.powerW(t, i, j)
        }
        if (link !== 'up') continue
        tables.set(i, {
          options: [...fleet.options.keys()],
          choices: fleet.options.map((option, j) =>
            makeChoice(option.id, {
              rateBps: world.rateBps(t, i, j),
              rateSigmaBps: 0,
              powerW: world.powerW(t, i, j),
              powerSigmaW: 0,
              worth:
                device.weight *
                worthOf(world.psnrDb(t, i, j), option) *
                (1 - lateShare(world.latencyS(t, i, j), option.frameRate)),
            }),
          ),
        })
      }
      const next = planned.slice()
      for (const [i, j] of solveTables(fleet, tables, { siteBps, powerW }).chosen) next[i] = j
      return next
    },
  }
}
