import type { Finding, Refusal, SystemPlace } from './candidate.ts'
import { type HwmonChip, listHwmon } from './hwmon.ts'
import { type Rail, totalOfRails } from './rail-total.ts'
import { refuse } from './refuse.ts'

/** in4 to in7 and curr4 are shunt voltages and sums, not rails. */
const CHANNELS = [1, 2, 3]

function railOf(chip: HwmonChip, channel: number): Rail | undefined {
  const rail = chip.find(`in${channel}_label`)
  // Channels that are not connected show up as "NC", empty, without label or disabled, depending on the release.
  if (rail === undefined || rail === '' || rail === 'NC' || chip.find(`in${channel}_enable`) === '0') return undefined
  const [volts, amperes] = [`in${channel}_input`, `curr${channel}_input`]
  return { rail, read: () => (chip.readNumber(volts) * chip.readNumber(amperes)) / 1e6 }
}

/** Jetson with JetPack 5 and later: hwmon `ina3221`, millivolts and milliamperes by channel, no power file. */
export function findIna3221(place: SystemPlace): Finding {
  const { files, root } = place
  const rails: Rail[] = []
  const refused: Refusal[] = []
  for (const chip of listHwmon(files, root, ['ina3221']))
    for (const channel of CHANNELS)
      try {
        const rail = railOf(chip, channel)
        if (rail !== undefined) rails.push(rail)
      } catch (error) {
        refused.push(refuse(`ina3221:channel ${channel}`, error))
      }
  const total = totalOfRails(place, 'ina3221', rails)
  return {
    candidates: total.candidate === undefined ? [] : [total.candidate],
    refused: [...refused, ...total.refused],
  }
}
