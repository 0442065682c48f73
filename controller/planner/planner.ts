import type { Clock } from '@espalier/shared/clock'
import { describeError, StoreError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import type { Task } from '@espalier/shared/manifest/manifest'
import type { Capsule } from '@espalier/shared/messages/capsule'
import type { Desired } from '@espalier/shared/messages/controller'
import type { Signed } from '@espalier/shared/signature/signed-document'
import type { Logger } from 'pino'
import type { MqttLink } from '../broker/mqtt-link.ts'
import { makeCapsule } from '../capsule/make-capsule.ts'
import { RowMargins } from '../estimate/row-margins.ts'
import type { EventBus } from '../events.ts'
import type { Families } from '../families.ts'
import { type DeviceRecord, type Fleet, isConnected } from '../ingest/fleet.ts'
import type { PlanLimits } from '../plan/limits.ts'
import { choosePlan, type Plan, type PlannedSlot, planPrepared } from '../plan/plan-fleet.ts'
import type { Prepared } from '../plan/prepare.ts'
import { FleetSolver } from '../plan/solve.ts'
import type { FleetWidePrices } from '../solver/columns.ts'
import type { Budget } from '../store/budgets.ts'
import type { Store } from '../store/open-store.ts'
import type { Streams } from '../uplink/streams.ts'
import { type DesiredBody, leaseSum, mustPublish, outlineDesired, runsTheSame, withLadders } from './desired-state.ts'
import { Explorer } from './explorer.ts'
import { type Holder, makeLimits, slotFacts } from './fleet-limits.ts'
import { measureLoad } from './measure-load.ts'
import { type DeviceLoad, readLimits } from './read-limits.ts'
import { renewalMs } from './renewal.ts'
import { reserveOf } from './reserve.ts'
import { Settling } from './settling.ts'
import { listInputs, SlotCache, withFacts } from './slot-inputs.ts'
import type { WhatIfAnswer } from './what-if.ts'
import { widen } from './widen.ts'

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
  /** Adds the versions of families that devices should run; absent: they keep what they have. */
  readonly withFamilyOrders?: (bodies: Map<DeviceId, DesiredBody>) => Map<DeviceId, DesiredBody>
}

export interface Planner {
  /** Plan at once; calls in the same turn of the event loop make one plan. */
  request(reason: string): void
  /** Say again to a device what it should run, whether or not that changed. */
  republish(device: DeviceId): void
  latest(): Plan | undefined
  /**
   * What the latest plan would be under other budgets, from the same inputs; nothing is committed.
   *
   * @param changes By key; undefined: no such budget.
   * @returns Undefined before the first plan.
   */
  whatIf(changes: ReadonlyMap<string, Budget | undefined>): WhatIfAnswer | undefined
  close(): void
}

/** Between two plans of the whole fleet: where few slots changed in between, only they are planned. */
const WHOLE_MS = 10_000
/** By how much the bound on latency must have moved, in standard deviations, to be written down. */
const SAVED_STEP = 0.01

export function createPlanner(options: PlannerOptions): Planner {
  const { store, fleet, families, streams, events, clock, log } = options
  const withFamilyOrders = options.withFamilyOrders ?? ((bodies) => bodies)
  const margins = new RowMargins(store.bounds.load()?.rows)
  let saved = { looks: 0, latencyK: Number.NaN }
  const explorer = new Explorer()
  const publishedMs = new Map<DeviceId, number>()
  /** As the latest plan that had the device sees it. */
  const plannedSlots = new Map<DeviceId, readonly PlannedSlot[]>()
  const alarmed = new Set<string>()
  const settling = new Settling()
  let issuedMs = 0
  let plan: Plan | undefined
  const cache = new SlotCache()
  const solver = new FleetSolver(true)
  let whole = { atMs: Number.NEGATIVE_INFINITY, gap: 0 }
  /** What the latest plan was made of. */
  let basis:
    | {
        readonly slots: readonly Prepared[]
        readonly limits: PlanLimits
        readonly warm: FleetWidePrices | undefined
      }
    | undefined
  let requested: NodeJS.Immediate | undefined

  const isPlannable = (device: DeviceRecord): boolean => isConnected(device) && device.birth !== undefined

  /** What devices that do not answer may still use. */
  function silentHolders(): Holder[] {
    return fleet.list().flatMap((device) => {
      const { desired, lastSeenMs, birth } = device
      if (desired === undefined || isPlannable(device)) return []
      const of = (kind: 'rateBps' | 'powerW') => reserveOf(desired, kind, clock.wallMs() - lastSeenMs, options.capsuleS)
      return [{ site: birth?.site, rateBps: of('rateBps'), powerW: of('powerW') }]
    })
  }

  const taskOf = (family: string): Task | undefined => families.get(family)?.manifest.task

  /** What every device that is planned does now. */
  function listLoads(budgets: ReadonlyMap<string, Budget>): DeviceLoad[] {
    const nowMs = clock.wallMs()
    return fleet
      .list()
      .filter(isPlannable)
      .map((device) => {
        const gramsPerKwh = budgets.get(`site:${device.birth!.site}`)?.carbonGPerKwh ?? 0
        return { ...measureLoad(device, streams, nowMs, taskOf), carbonGPerKwh: Math.round(gramsPerKwh) }
      })
  }

  /** What slots draw that no plan moves is not the plan's to give away. */
  function limitsUnder(budgets: ReadonlyMap<string, Budget>, loads: readonly DeviceLoad[]): PlanLimits {
    const unplanned = loads.filter(({ unplannedW }) => unplannedW > 0)
    const holders = [
      ...silentHolders(),
      ...unplanned.map(({ site, unplannedW: powerW }) => ({ site, rateBps: 0, powerW })),
    ]
    return makeLimits(budgets, holders, (key) => margins.shareOf(key))
  }

  /** Learn from what was measured under the present plan, once it has settled. */
  function checkLimits(loads: readonly DeviceLoad[]): void {
    const nowMs = clock.monotonicMs()
    if (plan === undefined || basis === undefined) return
    const { gateways } = basis.limits
    const isSettled = settling.at(nowMs, { sitesOf: (id) => gateways?.get(id)?.sites ?? [], devices: loads.length })
    for (const { key, reading } of readLimits(plan.loads, basis.limits, loads)) {
      if (!isSettled(key)) continue
      margins.learn(key, reading, nowMs)
      if (reading.isViolated) settling.judged(key, nowMs)
    }
  }

  /** What moved too little to matter is not worth a write: a fleet moves the bound on latency with every message. */
  function saveBounds(): void {
    const { latencyK } = fleet.beliefs
    if (margins.looks === saved.looks && Math.abs(latencyK - saved.latencyK) < SAVED_STEP) return
    store.bounds.save({ latencyK, rows: margins.learned })
    saved = { looks: margins.looks, latencyK }
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
  function renewCapsule(id: DeviceId, desired: Desired): Capsule | undefined {
    const planned = plannedSlots.get(id)
    if (planned === undefined) return undefined
    // A clock that was set back must not make a new capsule look old.
    issuedMs = Math.max(clock.wallMs(), issuedMs + 1)
    return makeCapsule(id, desired, planned, { issuedMs, validS: options.capsuleS })
  }

  function sendCapsule(id: DeviceId, capsule: Capsule | undefined): void {
    if (capsule === undefined) return
    options
      .link()
      .publishCapsule(id, options.signCapsule(capsule))
      .catch((error: unknown) => log.warn({ device: id, reason: describeError(error) }, 'capsule not published'))
  }

  /**
   * Committed before published: a generation that a device saw is never given out twice. All at once, for each commit waits
   * for the disk.
   */
  function commit(
    bodies: readonly (readonly [DeviceId, DesiredBody])[],
    slotsOf: ReadonlyMap<DeviceId, PlannedSlot[]>,
  ) {
    const atMs = clock.wallMs()
    const committed = store.atomically(() =>
      bodies.map(([id, outline]) => {
        const slots = slotsOf.get(id) ?? []
        const desired = store.desired.commit(id, withLadders(outline, slots))
        for (const { input, why } of slots)
          store.decisions.add({ device: id, slot: input.birth.slot, gen: desired.gen, atMs, why })
        return { id, desired, capsule: renewCapsule(id, desired) }
      }),
    )
    for (const { id, desired, capsule } of committed) {
      const device = fleet.open(id)
      if (!runsTheSame(device.desired, desired)) settling.changed(id, device.birth?.site ?? '', clock.monotonicMs())
      device.desired = desired
      send(id)
      sendCapsule(id, capsule)
    }
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
    const budgets = store.budgets.list()
    const loads = listLoads(budgets)
    checkLimits(loads)
    saveBounds()
    const limits = limitsUnder(budgets, loads)
    const sources = { families, beliefs: fleet.beliefs, budgets, plannedOf: (key: string) => explorer.plannedOf(key) }
    const slots = cache.prepare(listInputs(fleet.list().filter(isPlannable), sources))
    const warm = plan?.prices
    const isWholeDue = clock.monotonicMs() - whole.atMs >= WHOLE_MS
    const next = explorer.apply(
      planPrepared(slots, limits, warm, { solver, wholeGap: isWholeDue ? undefined : whole.gap }),
      clock.monotonicMs(),
    )
    if (next.isWhole) whole = { atMs: clock.monotonicMs(), gap: next.gap }
    basis = { slots, limits, warm }
    const slotsOf = new Map<DeviceId, PlannedSlot[]>()
    for (const slot of next.slots) {
      const id = slot.input.key.split('/')[0] as DeviceId
      const known = slotsOf.get(id)
      if (known === undefined) slotsOf.set(id, [slot])
      else known.push(slot)
    }
    for (const [id, slots] of slotsOf) plannedSlots.set(id, slots)
    const bodies = withFamilyOrders(new Map([...slotsOf].map(([id, slots]) => [id, outlineDesired(slots)] as const)))
    const changed = new Set(
      [...bodies].filter(([id, body]) => mustPublish(fleet.get(id)?.desired, body)).map(([id]) => id),
    )
    const leasesOf = (body: DesiredBody) => ({
      rateBps: leaseSum(body, 'rateBps') ?? 0,
      powerW: leaseSum(body, 'powerW') ?? 0,
    })
    const leased = [...bodies].flatMap(([id, body]) => {
      const input = slotsOf.get(id)?.[0]?.input
      // What no plan moves has no lease.
      if (input === undefined) return []
      const { site, carbonGPerKwh = 0 } = input
      return [{ id, site, carbonGPerKwh, kept: leasesOf(fleet.get(id)?.desired ?? body), planned: leasesOf(body) }]
    })
    widen(changed, leased, limits)
    if (changed.size > 0)
      commit(
        [...changed].map((id) => [id, bodies.get(id)!] as const),
        slotsOf,
      )
    plan = next
    raiseAlarms(next)
    if (changed.size > 0) {
      const { value, bound, gap } = next
      events.emit({ kind: 'plan', data: { devices: [...changed], value, bound, gap } })
    }
    for (const id of bodies.keys())
      if (clock.monotonicMs() - (publishedMs.get(id) ?? Number.NEGATIVE_INFINITY) > renewalMs(id)) send(id)
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
      const desired = fleet.get(id)?.desired
      if (desired !== undefined) sendCapsule(id, renewCapsule(id, desired))
    },
    latest: () => plan,
    whatIf(changes) {
      if (plan === undefined || basis === undefined) return undefined
      const budgets = new Map(store.budgets.list())
      for (const [key, budget] of changes) {
        if (budget === undefined) budgets.delete(key)
        else budgets.set(key, budget)
      }
      const slotsOn = (device: string) => fleet.get(device)?.birth?.slots.length ?? 1
      const slots = withFacts(basis.slots, ({ key, site }) => {
        const device = key.split('/')[0]!
        return slotFacts(budgets, device, site, slotsOn(device))
      })
      // From the same prices as the plan was found from: the same budgets give the same plan.
      return { now: plan, slots, after: choosePlan(slots, limitsUnder(budgets, listLoads(budgets)), basis.warm) }
    },
    close() {
      clearInterval(timer)
      if (requested !== undefined) clearImmediate(requested)
    },
  }
}
