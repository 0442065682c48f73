import type { TelemetryRow } from '../store/telemetry.ts'
import { energyOf } from './energy-source.ts'

/**
 * What a device drew between two of its messages of one boot, all its sources together, and what it would have drawn idle: a
 * sensor that is silent for a while leaves joules to the model, and both are the device's.
 *
 * @returns Undefined without any source, or without time in between.
 */
export function powerBetween(
  first: TelemetryRow,
  last: TelemetryRow,
): { readonly powerW: number; readonly idleW: number } | undefined {
  // The device's own clock has no jitter of the network.
  const seconds = (last.monoMs - first.monoMs) / 1000
  const [before, after] = [energyOf(first.counters.energy), energyOf(last.counters.energy)]
  if (before === undefined || after === undefined || !(seconds > 0)) return undefined
  return {
    powerW: (after.joules - before.joules) / seconds,
    idleW: (after.idleJoules - before.idleJoules) / seconds,
  }
}
