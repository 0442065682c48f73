export const SCOPES = ['device', 'slot', 'update', 'site', 'fleet', 'rollout'] as const
export type Scope = (typeof SCOPES)[number]

/** Something that rules can be about. */
export interface Metric {
  /** e.g. `device.powerW` */
  readonly name: string
  readonly scope: Scope
  /** Absent: a flag, which is true or not. */
  readonly unit?: string
  /** Whether it can be compared with the budget of its site or of the fleet. */
  readonly hasBudget?: true
  readonly sentence: string
}

const metric = (name: string, sentence: string, unit?: string, hasBudget?: true): Metric => ({
  name,
  scope: name.split('.')[0] as Scope,
  sentence,
  ...(unit === undefined ? {} : { unit }),
  ...(hasBudget === undefined ? {} : { hasBudget }),
})

/** Values of devices are those of the last ten seconds. `controller/alert/read-metrics.ts` reads each. */
export const metrics: readonly Metric[] = [
  metric('device.offline', 'It is not connected: lost, offline or asleep.'),
  metric('device.degraded', 'It says that it is degraded.'),
  metric('device.throttled', 'Its firmware or kernel throttles it now.'),
  metric('device.powerW', 'What the device draws.', 'W'),
  metric('device.joulesPerFrame', 'Energy of a frame, idle included.', 'J'),
  metric('device.latencyP95Ms', '95th percentile from arrival of a frame to its result.', 'ms'),
  metric('device.rateBps', 'What its slots send.', 'bit/s'),
  metric('device.framesPerSecond', 'Frames that were done.', '1/s'),
  metric('device.psnrDb', 'Quality of its frames, as measured by decoding some.', 'dB'),
  metric('device.celsius', 'The hottest of its thermal zones.', 'Cel'),
  metric('device.spoolBytes', 'What waits in its spool.', 'B'),
  metric('device.monthBytes', 'Bytes on its link in this calendar month.', 'B'),
  metric('slot.braked', 'It runs a lower rung than desired to keep its lease.'),
  metric('slot.refused', 'It refused what it should run.'),
  metric('slot.failed', 'It cannot run.'),
  metric('slot.paused', 'It was told to make no frames.'),
  metric('update.running', 'A version of a family is being fetched, verified, warmed up or tried.'),
  metric('update.rolled-back', 'The last update was rolled back.'),
  metric('update.safe', 'The slot is in safe mode after updates that failed.'),
  metric('site.rateBps', 'What the devices of a site send.', 'bit/s', true),
  metric('site.powerW', 'What the devices of a site draw.', 'W'),
  metric('site.offlineDevices', 'Devices of a site that are not connected.', 'devices'),
  metric('site.offlineShare', 'The same as a share of the site, 0 to 1.', '1'),
  metric('fleet.rateBps', 'What all devices send.', 'bit/s'),
  metric('fleet.powerW', 'What all devices draw.', 'W', true),
  metric('fleet.offlineDevices', 'Devices that are not connected.', 'devices'),
  metric('fleet.offlineShare', 'The same as a share of the fleet, 0 to 1.', '1'),
  metric('fleet.alarms', 'Alarms of the present plan.', 'alarms'),
  metric('rollout.stopped', 'A rollout stopped by itself.'),
]

export const findMetric = (name: string): Metric | undefined => metrics.find((each) => each.name === name)
