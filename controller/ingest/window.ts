import { quantile, subtractCounts } from '@espalier/shared/histogram'
import type { TelemetryWindow } from '../estimate/slot-estimate.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import { energyOf, primaryEnergy } from './energy-source.ts'

/**
 * What a slot did between two messages of one boot, if it ran one configuration all the time.
 *
 * @returns Undefined if it was swapped in between, restarted, or is new.
 */
export function windowBetween(before: TelemetryRow, after: TelemetryRow, slotId: string): TelemetryWindow | undefined {
  const [early, late] = [before, after].map(({ counters }) => counters.slots.find(({ slot }) => slot === slotId))
  if (before.boot !== after.boot || early === undefined || late === undefined) return undefined
  if (early.configuration !== late.configuration || early.swaps !== late.swaps) return undefined
  const dynamic = (row: TelemetryRow) => row.counters.slots.reduce((sum, s) => sum + s.joules - s.idleJoules, 0)
  const device = (row: TelemetryRow) => energyOf(row.counters.energy)?.joules
  const [deviceBefore, deviceAfter] = [device(before), device(after)]
  const baseJoules =
    deviceBefore === undefined || deviceAfter === undefined
      ? late.idleJoules - early.idleJoules
      : (deviceAfter - deviceBefore - (dynamic(after) - dynamic(before))) / after.counters.slots.length
  const psnrCount = late.psnrCount - early.psnrCount
  return {
    configuration: late.configuration,
    seconds: (after.monoMs - before.monoMs) / 1000,
    frames: late.frames - early.frames,
    bits: late.bits - early.bits,
    dynamicJoules: late.joules - late.idleJoules - (early.joules - early.idleJoules),
    baseJoules: Math.max(0, baseJoules),
    isModelled: primaryEnergy(after.counters.energy)?.method === 'model',
    latencyP50S: quantile(subtractCounts(late.latency, early.latency), 0.5),
    psnrDb: psnrCount > 0 ? (late.psnrSum - early.psnrSum) / psnrCount : undefined,
  }
}
