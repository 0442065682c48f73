import type { Clock } from '@espalier/shared/clock'
import { describeError, StoreError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import type { Capsule } from '@espalier/shared/messages/capsule'
import type { Signed } from '@espalier/shared/signature/signed-document'
import type { Logger } from 'pino'
import type { MqttLink } from '../broker/mqtt-link.ts'
import { makeCapsule } from '../capsule/make-capsule.ts'
import { RowMargins } from '../estimate/row-margins.ts'
import type { EventBus } from '../events.ts'
import type { Families } from '../families.ts'
import { type DeviceRecord, type Fleet, isConnected } from '../ingest/fleet.ts'
import type { SlotInput } from '../plan/option.ts'
import { type Limit, type Plan, type PlannedSlot, planFleet, type Row } from '../plan/plan-fleet.ts'
import type { Store } from '../store/open-store.ts'
import type { Streams } from '../uplink/streams.ts'
import { type DesiredBody, LEASE_TTL_S, leaseSum, makeDesired, mustPublish } from './desired-state.ts'
import { Explorer } from './explorer.ts'
import { measureDevice } from './measure.ts'
import { reserveOf } from './reserve.ts'

export interface PlannerOptions {
  readonly store: Store
  readonly fleet: Fleet
  readonly families: Families
  readonly streams: Streams
  readonly events: EventBus
  readonly clock: Clock
  readonly log: Logger
  readonly link: () => Pick<MqttLink, 'publishDesired' | 'publishCapsule' | 'isConnected'>
  readonly intervalMs: number
  /** How long capsules are valid, and budgets hold the leases of devices that are not heard. */
  readonly capsuleS: number
  readonly signCapsule: (capsule: Capsule) => Signed
}

export interface Planner {
  /** Plan at once; calls in the same turn of the event loop make one plan. */
  request(reason: string): void
  /** Say again to a device what it should run, whether or not that changed. */
  republish(device: DeviceId): void
  latest(): Plan | undefined
  close(): void
}

/** After a plan changed, measurements of the last ten seconds still hold what ran before. */
const SETTLING_MS = 14_000
/** A lease is renewed three times within its time to live. */
const RENEWAL_MS = (LEASE_TTL_S * 1000) / 3
const LEASED_SHARE = 0.97

export function createPlanner(options: PlannerOptions): Planner {
  const { store, fleet, families, streams, events, clock, log } = options
  const margins = new RowMargins(store.bounds.load()?.rows)
  const explorer = new Explorer()
  const publishedMs = new Map<DeviceId, number>()
  /** As the latest plan that had the device sees it. */
  const plannedSlots = new Map<DeviceId, readonly PlannedSlot[]>()
  const alarmed = new Set<string>()
  let changedMs = Number.NEGATIVE_INFINITY
  let issuedMs = 0
  let plan: Plan | undefined
  let requested: NodeJS.Immediate | undefined

  const isPlannable = (device: DeviceRecord): boolean => isConnected(device) && device.birth !== undefined

  function slotInputs(): SlotInput[] {
    return fleet.list().flatMap((device) => {
      if (!isPlannable(device)) return []
      return device.birth!.slots.flatMap((birth): SlotInput[] => {
        const manifest = families.get(birth.family)?.manifest
        // What a classifier gains by more frames or another variant has no utility yet: it keeps what it runs.
        if (manifest?.task !== 'image-codec') return []
        return [
          {
            key: `${device.id}/${birth.slot}`,
            site: device.birth!.site,
            birth,
            manifest,
            ...fleet.beliefs.of(device, birth),
            planned:
              explorer.plannedOf(`${device.id}/${birth.slot}`) ??
              device.desired?.slots.find(({ slot }) => slot === birth.slot)?.ladder[0]?.configuration,
          },
        ]
      })
    })
  }

  /** What devices that do not answer may still use. */
  function reservedBy(site: string | undefined, kind: 'rateBps' | 'powerW'): number {
    return fleet
      .list()
      .filter((device) => !isPlannable(device) && (site === undefined || device.birth?.site === site))
      .reduce((sum, { desired, lastSeenMs }) => {
        const silentMs = clock.wallMs() - lastSeenMs
        return sum + (desired === undefined ? 0 : reserveOf(desired, kind, silentMs, options.capsuleS))
      }, 0)
  }

  const isPlanned = (family: string): boolean => families.get(family)?.manifest.task === 'image-codec'

  /** What slots draw that no plan moves: not the plan's to give away. */
  function unplannedW(): number {
    const drawn = fleet.list().flatMap((device) => {
      const unplanned = isPlannable(device) ? device.birth!.slots.filter(({ family }) => !isPlanned(family)) : []
      if (unplanned.length === 0) return []
      const measured = measureDevice(device, { store, streams, clock })
      return unplanned.map(({ slot }) => measured.slots.get(slot)?.powerW ?? 0)
    })
    return drawn.reduce((sum, watts) => sum + watts, 0)
  }

  function limits(): { sites: Map<string, Limit>; power: Limit | undefined } {
    const sites = new Map<string, Limit>()
    let power: Limit | undefined
    for (const [key, { rateBps, powerW }] of store.budgets.list()) {
      const marginShare = margins.shareOf(key)
      if (key.startsWith('site:') && rateBps !== undefined) {
        const site = key.slice(5)
        sites.set(site, { total: rateBps, reserved: Math.ceil(reservedBy(site, 'rateBps')), marginShare })
      } else if (key === 'fleet' && powerW !== undefined) {
        const reserved = Math.ceil((reservedBy(undefined, 'powerW') + unplannedW()) * 1000)
        power = { total: Math.floor(powerW * 1000), reserved, marginShare }
      }
    }
    return { sites, power }
  }

  /** Learn from what was measured under the present plan, once it has settled. */
  function checkLimits(): void {
    if (plan === undefined || clock.monotonicMs() - changedMs < SETTLING_MS) return
    const measured = fleet
      .list()
      .filter(isPlannable)
      .map((device) => ({ site: device.birth!.site, ...measureDevice(device, { store, streams, clock }) }))
    const learn = (key: string, { total, planned, sigma }: Row, used: number, fixed: number): void => {
      const isViolated = used > total
      const movable = Math.max(1, total - fixed)
      const found = { miss: (used - planned) / movable, isViolated, predicted: (sigma / movable) ** 2 }
      margins.learn(key, found, clock.monotonicMs())
      // Let the next plan settle before it is judged.
      if (isViolated) changedMs = clock.monotonicMs()
    }
    for (const [site, row] of plan.sites) {
      const members = measured.filter((m) => m.site === site)
      const used = members.reduce((sum, m) => sum + (m.bitsPerSecond ?? 0), 0)
      learn(`site:${site}`, row, used, 0)
    }
    if (plan.power === undefined) return
    const baseW = plan.slots.reduce((sum, { input }) => sum + input.estimate.basePower.meanW, 0)
    const otherMw = unplannedW() * 1000
    const usedMw = measured.reduce((sum, m) => sum + (m.powerW ?? 0) * 1000, 0)
    const row = { ...plan.power, planned: plan.power.planned + otherMw }
    learn('fleet', row, usedMw, baseW * 1000 + otherMw)
  }

  /** Devices whose leases must be sent so that all leases of a row, sent or kept, stay within it. */
  function widen(changed: Set<DeviceId>, bodies: ReadonlyMap<DeviceId, DesiredBody>, rows: ReturnType<typeof limits>) {
    const held = (id: DeviceId, kind: 'rateBps' | 'powerW') =>
      leaseSum(changed.has(id) ? bodies.get(id)! : (fleet.get(id)?.desired ?? bodies.get(id)!), kind) ?? 0
    const widenRow = (members: DeviceId[], kind: 'rateBps' | 'powerW', limit: number): void => {
      if (members.reduce((sum, id) => sum + held(id, kind), 0) > limit) for (const id of members) changed.add(id)
    }
    const all = [...bodies.keys()]
    for (const [site, { total, reserved }] of rows.sites)
      widenRow(
        all.filter((id) => fleet.get(id)?.birth?.site === site),
        'rateBps',
        LEASED_SHARE * total - reserved,
      )
    if (rows.power !== undefined) widenRow(all, 'powerW', (rows.power.total - rows.power.reserved) / 1000)
  }

  function send(id: DeviceId): void {
    const desired = fleet.get(id)?.desired
    if (desired === undefined) return
    publishedMs.set(id, clock.monotonicMs())
    options
      .link()
      .publishDesired(id, desired)
      .catch((error: unknown) => log.warn({ device: id, reason: describeError(error) }, 'desired not published'))
  }

  /** With each generation and each birth: while a device is in contact its capsule stays as good as new by itself. */
  function sendCapsule(id: DeviceId): void {
    const desired = fleet.get(id)?.desired
    const planned = plannedSlots.get(id)
    if (desired === undefined || planned === undefined) return
    // A clock that was set back must not make a new capsule look old.
    issuedMs = Math.max(clock.wallMs(), issuedMs + 1)
    const capsule = makeCapsule(id, desired, planned, { issuedMs, validS: options.capsuleS })
    options
      .link()
      .publishCapsule(id, options.signCapsule(capsule))
      .catch((error: unknown) => log.warn({ device: id, reason: describeError(error) }, 'capsule not published'))
  }

  /** Committed before published: a generation that a device saw is never given out twice. */
  function commit(id: DeviceId, body: DesiredBody, slots: readonly PlannedSlot[]): void {
    const device = fleet.open(id)
    device.desired = store.desired.commit(id, body)
    const { gen } = device.desired
    for (const { input, why } of slots)
      store.decisions.add({ device: id, slot: input.birth.slot, gen, atMs: clock.wallMs(), why })
    send(id)
    sendCapsule(id)
  }

  function raiseAlarms(next: Plan): void {
    const present = new Set(next.alarms.map(({ kind, subject }) => `${kind} ${subject}`))
    for (const alarm of next.alarms)
      if (!alarmed.has(`${alarm.kind} ${alarm.subject}`)) {
        log.warn(alarm, 'alarm')
        events.emit({ kind: 'alarm', data: alarm })
      }
    alarmed.clear()
    for (const alarm of present) alarmed.add(alarm)
  }

  function planNow(): void {
    checkLimits()
    store.bounds.save({ latencyK: fleet.beliefs.latencyK, rows: margins.learned })
    const rows = limits()
    const next = explorer.apply(planFleet({ slots: slotInputs(), ...rows }), clock.monotonicMs())
    const slotsOf = new Map<DeviceId, PlannedSlot[]>()
    for (const slot of next.slots) {
      const id = slot.input.key.split('/')[0] as DeviceId
      slotsOf.set(id, [...(slotsOf.get(id) ?? []), slot])
    }
    for (const [id, slots] of slotsOf) plannedSlots.set(id, slots)
    const bodies = new Map([...slotsOf].map(([id, slots]) => [id, makeDesired(slots)] as const))
    const changed = new Set(
      [...bodies].filter(([id, body]) => mustPublish(fleet.get(id)?.desired, body)).map(([id]) => id),
    )
    widen(changed, bodies, rows)
    for (const id of changed) commit(id, bodies.get(id)!, slotsOf.get(id)!)
    plan = next
    raiseAlarms(next)
    if (changed.size > 0) {
      changedMs = clock.monotonicMs()
      const { value, bound, gap } = next
      events.emit({ kind: 'plan', data: { devices: [...changed], value, bound, gap } })
    }
    for (const id of bodies.keys())
      if (clock.monotonicMs() - (publishedMs.get(id) ?? Number.NEGATIVE_INFINITY) > RENEWAL_MS) send(id)
  }

  function tryPlan(): void {
    try {
      planNow()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      // Nothing was published that is not on disk; the last plan stays in force.
      log.error({ reason: error.message }, 'plan not committed')
      events.emit({ kind: 'alarm', data: { kind: 'store', subject: 'plan', message: error.message } })
    }
  }

  const timer = setInterval(tryPlan, options.intervalMs)
  return {
    request(reason) {
      log.debug({ reason }, 'plan requested')
      requested ??= setImmediate(() => {
        requested = undefined
        tryPlan()
      })
    },
    republish(id) {
      send(id)
      sendCapsule(id)
    },
    latest: () => plan,
    close() {
      clearInterval(timer)
      if (requested !== undefined) clearImmediate(requested)
    },
  }
}
