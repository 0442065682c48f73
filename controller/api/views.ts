import type { Clock } from '@espalier/shared/clock'
import { configurationId, parseConfigurationId } from '@espalier/shared/configuration'
import { energyOf } from '../ingest/energy-source.ts'
import type { DeviceRecord } from '../ingest/fleet.ts'
import type { Plan } from '../plan/plan-fleet.ts'
import { type DeviceMeasured, type Measured, measureDevice } from '../planner/measure.ts'
import type { Store } from '../store/open-store.ts'
import type { Streams } from '../uplink/streams.ts'
import type { DeviceView, PlanView, SlotView } from './schemas.ts'

export interface ViewSources {
  readonly store: Store
  readonly streams: Streams
  readonly clock: Clock
}

/** Without the fields that are undefined: what is not known is absent in the API. */
function present<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as never
}

function measuredFields(measured: Measured) {
  const { latencyMs, joulesPerFrame, powerW, bitsPerSecond, framesPerSecond, psnrDb, agreementPct } = measured
  const interval = joulesPerFrame && ([...joulesPerFrame.interval] as [number, number])
  return present({
    latencyMs,
    joulesPerFrame: joulesPerFrame && { ...joulesPerFrame, interval: interval! },
    powerW,
    bitsPerSecond,
    framesPerSecond,
    psnrDb,
    agreementPct,
  })
}

/** What a device told of, latest arrival first, placed in time as far as its boots allow. */
export function viewEvents(device: DeviceRecord, limit: number, { store, clock }: ViewSources) {
  const beginnings = store.boots.beginnings(device.id, clock.wallMs())
  return store.events.recent(device.id, limit).map(({ boot, monoMs, receivedMs, event }) => {
    const beginning = beginnings.get(boot)
    const atMs = Math.min(receivedMs, beginning === undefined ? receivedMs : beginning.zeroMs + monoMs)
    const uncertaintyMs = beginning?.uncertaintyMs ?? Number.POSITIVE_INFINITY
    return {
      ...event,
      at: new Date(atMs).toISOString(),
      ...(Number.isFinite(uncertaintyMs) ? { uncertaintyS: uncertaintyMs / 1000 } : {}),
      placedBy: beginning?.source ?? ('between' as const),
      receivedAt: new Date(receivedMs).toISOString(),
    }
  })
}

const COUNTS = ['frames', 'dropped', 'unsent', 'late', 'swaps'] as const

function viewSlot(device: DeviceRecord, slot: string, measured: DeviceMeasured, streams: Streams): SlotView {
  const totals = measured.totals?.slots.find((s) => s.slot === slot)
  const reported = device.reported?.slots.find((s) => s.slot === slot)
  const desired = device.desired?.slots.find((s) => s.slot === slot)
  const id = reported ? configurationId(reported.configuration) : totals?.configuration
  const counts = Object.fromEntries(COUNTS.map((field) => [field, totals?.[field] ?? 0])) as Pick<
    SlotView,
    (typeof COUNTS)[number]
  >
  return {
    slot,
    ...counts,
    ...measuredFields(measured.slots.get(slot) ?? {}),
    ...present({
      configuration: id === undefined ? undefined : parseConfigurationId(id),
      configurationId: id,
      phase: reported?.phase,
      desiredId: desired && configurationId(desired.ladder[0]!.configuration),
      leaseBps: desired?.lease.rateBps,
      uplink: streams.view(`${device.id}/${slot}`),
    }),
  } as SlotView
}

export function viewDevice(device: DeviceRecord, sources: ViewSources): DeviceView {
  const measured = measureDevice(device, sources)
  const names = device.birth?.slots ?? measured.totals?.slots ?? []
  const slots = names.map(({ slot }) => viewSlot(device, slot, measured, sources.streams))
  const counts = Object.fromEntries(
    COUNTS.map((field) => [field, slots.reduce((sum, slot) => sum + slot[field], 0)]),
  ) as Pick<DeviceView, (typeof COUNTS)[number]>
  const first = slots[0]
  return {
    id: device.id,
    state: device.state,
    lastSeen: new Date(device.lastSeenMs).toISOString(),
    ...counts,
    ...measuredFields(measured),
    ...present({
      site: device.birth?.site,
      deviceClass: device.birth?.deviceClass,
      reason: device.reason,
      configuration: first?.configuration,
      configurationId: first?.configurationId,
      phase: first?.phase,
      desired:
        device.desired && first?.desiredId !== undefined
          ? { gen: device.desired.gen, configurationId: first.desiredId }
          : undefined,
    }),
    slots,
  } as DeviceView
}

/** @returns Undefined before the device sent any telemetry. */
export function viewTotals(device: DeviceRecord, sources: ViewSources) {
  const { totals, totalsAtMs, idleW } = measureDevice(device, sources)
  const slot = totals?.slots.find((s) => s.slot === device.birth?.slots[0]?.slot) ?? totals?.slots[0]
  if (totals === undefined || slot === undefined) return undefined
  const { frames, bits, joules, psnrSum, psnrCount } = slot
  const deviceJoules = energyOf(totals.energy)?.joules ?? joules
  return { atMs: totalsAtMs!, frames, bits, joules, deviceJoules, idleW: idleW ?? 0, psnrSum, psnrCount }
}

export function viewPlan(plan: Plan): PlanView {
  return {
    value: plan.value,
    bound: plan.bound,
    integerBound: plan.integerBound,
    gap: plan.gap,
    rows: [...plan.rows],
    sites: [...plan.sites].map(([site, row]) => ({ site, ...row })),
    ...(plan.power === undefined ? {} : { power: plan.power }),
    slots: plan.slots.map(({ input, lease, ladder, why }) => ({
      device: input.key.split('/')[0]!,
      slot: input.birth.slot,
      site: input.site,
      lease,
      rungs: ladder.length,
      why,
    })),
    alarms: [...plan.alarms],
  }
}
