import { configurationId, parseConfigurationId } from '@espalier/shared/configuration'
import { z } from 'zod'
import { primaryEnergy } from '../ingest/energy-source.ts'
import type { DeviceRecord } from '../ingest/fleet.ts'
import type { RecentWindow } from '../ingest/recent-window.ts'
import { healthSchema, judgeHealth } from './judge-health.ts'
import { measureWindow } from './measure-window.ts'

/** One line of the list of devices: sums over the device's slots, names of its first. Absent is what is not known. */
export const deviceRowSchema = z.object({
  id: z.string(),
  site: z.string().optional(),
  deviceClass: z.string().optional(),
  health: healthSchema,
  reason: z.string().optional(),
  state: z.string(),
  /** 0: never. */
  lastSeenMs: z.number(),
  slots: z.int(),
  family: z.string().optional(),
  variant: z.string().optional(),
  alpha255: z.int().optional(),
  configurationId: z.string().optional(),
  rateBps: z.number().optional(),
  leaseBps: z.number().optional(),
  powerW: z.number().optional(),
  /** Of what `powerW` is: module, board, wall or modelled. */
  energyScope: z.string().optional(),
  joulesPerFrame: z.number().optional(),
  framesPerSecond: z.number().optional(),
  latencyP95Ms: z.number().optional(),
  psnrDb: z.number().optional(),
  gramsPerHour: z.number().optional(),
  /** Of the hottest zone. */
  celsius: z.number().optional(),
  /** Where the last update stands, of the first slot that has one. */
  update: z.string().optional(),
})
export type DeviceRow = z.infer<typeof deviceRowSchema>

/** The part of a row that messages say; what is received is better known than what was sent. */
export function makeDeviceRow(
  device: DeviceRecord,
  recent: RecentWindow | undefined,
  receivedBps: (slot: string) => number | undefined,
): DeviceRow {
  const { birth, reported, desired } = device
  const telemetry = recent?.last.counters
  const verdict = judgeHealth(device, telemetry)
  const row: DeviceRow = {
    id: device.id,
    ...verdict,
    state: device.state,
    lastSeenMs: device.lastSeenMs,
    slots: birth?.slots.length ?? 0,
  }
  if (birth !== undefined) {
    row.site = birth.site
    row.deviceClass = birth.deviceClass
    row.family = birth.slots[0]!.family
  }
  const runs = reported?.slots[0]?.configuration ?? parseConfigurationId(telemetry?.slots[0]?.configuration ?? '')
  if (runs !== undefined) {
    row.configurationId = configurationId(runs)
    row.variant = runs.variant
    row.alpha255 = runs.alpha255
  }
  const lease = desired?.slots.reduce<number | undefined>(
    (sum, slot) => (slot.lease.rateBps === undefined ? sum : (sum ?? 0) + slot.lease.rateBps),
    undefined,
  )
  if (lease !== undefined) row.leaseBps = lease
  const update = reported?.slots.find((slot) => slot.update !== undefined)?.update
  if (update !== undefined) row.update = update.state
  if (recent !== undefined && verdict.health !== 'lost') addMeasured(row, recent, receivedBps)
  return row
}

function addMeasured(
  row: DeviceRow,
  { first, last }: RecentWindow,
  receivedBps: (slot: string) => number | undefined,
): void {
  const temperatures = Object.values(last.counters.machine?.celsius ?? {})
  if (temperatures.length > 0) row.celsius = Math.max(...temperatures)
  const measured = measureWindow(first, last)
  if (measured === undefined) return
  const scope = primaryEnergy(last.counters.energy)?.scope
  if (scope !== undefined) row.energyScope = scope
  const power = measured.powerW ?? measured.slots.reduce((sum, slot) => sum + slot.powerW, 0)
  row.powerW = power
  const { carbon } = last.counters
  if (carbon !== undefined) row.gramsPerHour = (power / 1000) * carbon.gramsPerKwh
  row.rateBps = measured.slots.reduce((sum, slot) => sum + (receivedBps(slot.slot) ?? slot.rateBps), 0)
  row.framesPerSecond = measured.slots.reduce((sum, slot) => sum + slot.framesPerSecond, 0)
  const frames = measured.slots.reduce((sum, slot) => sum + slot.frames, 0)
  if (frames > 0)
    row.joulesPerFrame = measured.slots.reduce((sum, slot) => sum + slot.powerW * slot.seconds, 0) / frames
  const [main] = measured.slots
  if (main?.latencyP95Ms !== undefined) row.latencyP95Ms = main.latencyP95Ms
  if (main?.psnrDb !== undefined) row.psnrDb = main.psnrDb
}
