import { type DeviceRecord, isConnected } from '../ingest/fleet.ts'
import type { Plan } from '../plan/plan-fleet.ts'
import { labelsOf } from '../rollout/candidate.ts'
import type { Rollout } from '../rollout/rollout.ts'
import type { Budget } from '../store/budgets.ts'
import type { LiveReading } from './live-readings.ts'
import type { Reading, Readings } from './reading.ts'

export interface MetricSources {
  readonly devices: readonly DeviceRecord[]
  /** Undefined: it does not say anything now. */
  readonly live: (device: DeviceRecord) => LiveReading | undefined
  readonly budgets: ReadonlyMap<string, Budget>
  readonly plan: Plan | undefined
  readonly rollouts: readonly Rollout[]
}

type Quantity = number | undefined

const ofDevice = (device: DeviceRecord, rest: Omit<Reading, 'subject' | 'labels'>): Reading => ({
  subject: device.id,
  labels: labelsOf(device),
  ...rest,
})

const sum = (values: readonly Quantity[]): Quantity => {
  const known = values.filter((value) => value !== undefined)
  return known.length === 0 ? undefined : known.reduce((total, value) => total + value, 0)
}

/** Reads each metric of `metrics.ts` from what the controller knows; each is read once, when it is first asked for. */
export function readMetrics(sources: MetricSources): Readings {
  const { devices, budgets, plan } = sources
  const live = new Map<DeviceRecord, LiveReading | undefined>()
  const liveOf = (device: DeviceRecord): LiveReading | undefined => {
    if (!live.has(device)) live.set(device, isConnected(device) ? sources.live(device) : undefined)
    return live.get(device)
  }
  const value = (read: (live: LiveReading) => Quantity) => () =>
    devices.map((device) => {
      const found = liveOf(device)
      return ofDevice(device, { value: found && read(found) })
    })
  const flag = (read: (device: DeviceRecord) => boolean | undefined) => () =>
    devices.map((device) => ofDevice(device, { isTrue: read(device) }))
  type Slot = NonNullable<DeviceRecord['reported']>['slots'][number]
  const slotFlag = (read: (slot: Slot) => boolean) => () =>
    devices.flatMap((device) =>
      (device.reported?.slots ?? []).map((slot) => ({
        subject: `${device.id}/${slot.slot}`,
        labels: labelsOf(device),
        // What a device that is away last said is no news.
        isTrue: isConnected(device) ? read(slot) : undefined,
      })),
    )
  const sites = (): [string, DeviceRecord[]][] => {
    const found = new Map<string, DeviceRecord[]>()
    for (const device of devices) {
      const site = device.birth?.site
      if (site !== undefined) found.set(site, [...(found.get(site) ?? []), device])
    }
    return [...found]
  }
  const site = (read: (members: DeviceRecord[]) => Quantity, budget?: (limits: Budget) => Quantity) => () =>
    sites().map(([id, members]) => ({
      subject: `site:${id}`,
      value: read(members),
      budget: budget?.(budgets.get(`site:${id}`) ?? {}),
    }))
  const fleet = (read: () => Quantity, budget?: (limits: Budget) => Quantity) => () => [
    { subject: 'fleet', value: read(), budget: budget?.(budgets.get('fleet') ?? {}) },
  ]
  const total = (members: readonly DeviceRecord[], read: (live: LiveReading) => Quantity): Quantity =>
    sum(
      members.map((device) => {
        const found = liveOf(device)
        return found && read(found)
      }),
    )
  const offline = (members: readonly DeviceRecord[]): number => members.filter((device) => !isConnected(device)).length
  const share = (members: readonly DeviceRecord[]): Quantity =>
    members.length === 0 ? undefined : offline(members) / members.length
  const updating = new Set(['fetch', 'verify', 'warm', 'trial'])

  const readers: Readonly<Record<string, () => Reading[]>> = {
    'device.offline': flag((device) => !isConnected(device)),
    'device.degraded': flag((device) => (isConnected(device) ? device.state === 'degraded' : undefined)),
    'device.throttled': flag((device) => liveOf(device)?.isThrottled),
    'device.powerW': value((live) => live.powerW),
    'device.joulesPerFrame': value((live) => live.joulesPerFrame?.value),
    'device.latencyP95Ms': value((live) => live.latencyMs?.p95),
    'device.rateBps': value((live) => live.bitsPerSecond),
    'device.framesPerSecond': value((live) => live.framesPerSecond),
    'device.psnrDb': value((live) => live.psnrDb),
    'device.celsius': value((live) => live.celsius),
    'device.spoolBytes': value((live) => live.spoolBytes),
    'device.monthBytes': value((live) => live.monthBytes),
    'slot.braked': slotFlag(({ phase }) => phase === 'braked'),
    'slot.refused': slotFlag(({ phase }) => phase === 'refused'),
    'slot.failed': slotFlag(({ phase }) => phase === 'failed'),
    'slot.paused': slotFlag(({ isPaused }) => isPaused === true),
    'update.running': slotFlag(({ update }) => updating.has(update?.state ?? '')),
    'update.rolled-back': slotFlag(({ update }) => update?.state === 'rolled-back'),
    'update.safe': slotFlag(({ update }) => update?.state === 'safe'),
    'site.rateBps': site(
      (members) => total(members, (live) => live.bitsPerSecond),
      ({ rateBps }) => rateBps,
    ),
    'site.powerW': site((members) => total(members, (live) => live.powerW)),
    'site.offlineDevices': site(offline),
    'site.offlineShare': site(share),
    'fleet.rateBps': fleet(() => total(devices, (live) => live.bitsPerSecond)),
    'fleet.powerW': fleet(
      () => total(devices, (live) => live.powerW),
      ({ powerW }) => powerW,
    ),
    'fleet.offlineDevices': fleet(() => offline(devices)),
    'fleet.offlineShare': fleet(() => share(devices)),
    'fleet.alarms': fleet(() => plan?.alarms.length),
    'rollout.stopped': () => {
      const newest = new Map(sources.rollouts.map(({ id, spec }) => [spec.family, id]))
      return sources.rollouts.map(({ id, spec, state, waves }) => ({
        subject: id,
        // One that an operator stopped has no wave that failed; the next of the family ends it.
        isTrue: newest.get(spec.family) === id && state !== 'done' && waves.some((wave) => wave.state === 'failed'),
      }))
    },
  }
  const read = new Map<string, Reading[]>()
  return (metric) => {
    const known = read.get(metric) ?? readers[metric]?.() ?? []
    read.set(metric, known)
    return known
  }
}
