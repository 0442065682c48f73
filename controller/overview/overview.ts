import type { Clock } from '@espalier/shared/clock'
import { configurationId } from '@espalier/shared/configuration'
import type { Rung } from '@espalier/shared/messages/controller'
import { formatPower, formatRate } from '@espalier/shared/units'
import type { ControllerEvent, EventBus } from '../events.ts'
import type { Fleet } from '../ingest/fleet.ts'
import type { Explanation } from '../plan/explain.ts'
import type { Plan, PlannedSlot } from '../plan/plan-fleet.ts'
import type { Streams } from '../uplink/streams.ts'
import { ChangeLog } from './change-log.ts'
import { type DeviceRow, makeDeviceRow } from './device-row.ts'
import { HEALTH_WORDS, type Health } from './judge-health.ts'

export interface OverviewOptions {
  readonly fleet: Fleet
  readonly streams: Pick<Streams, 'view'>
  readonly events: EventBus
  readonly clock: Clock
  readonly latestPlan: () => Plan | undefined
}

/** A stream that was silent this long says nothing of the rate now. */
const RATE_AGE_MS = 10_000

/** A budget as people say it. */
function describeBudget(budget: unknown): string {
  const { rateBps, powerW, carbonGPerH } = (budget ?? {}) as Record<string, number | undefined>
  const parts = [
    ...(rateBps === undefined ? [] : [formatRate(rateBps)]),
    ...(powerW === undefined ? [] : [formatPower(powerW)]),
    ...(carbonGPerH === undefined ? [] : [`${carbonGPerH} g/h`]),
  ]
  return parts.length === 0 ? 'removed' : `set to ${parts.join(', ')}`
}

const fullId = (rung: Rung): string => configurationId(rung.configuration)
/** The short form of a configuration within its family. */
const shortId = (rung: Rung): string => fullId(rung).split('/').slice(1, 4).join(' ')

function describeReason(why: Explanation | undefined): { why: string; cause: string } {
  if (why === undefined) return { why: 'not planned now', cause: 'not planned now' }
  if (why.binding === 'none') return { why: why.price, cause: 'nothing shared is scarce' }
  return { why: `${why.binding}: ${why.price}`, cause: `held by ${why.binding}` }
}

/**
 * The whole fleet as people look at it: a row for each device, kept up to date by what is heard, so that a page of ten
 * thousand is answered from memory. A row is made again when it is asked for and something was heard since.
 */
export class Overview {
  readonly changes = new ChangeLog()
  readonly #options: OverviewOptions
  readonly #rows = new Map<string, DeviceRow>()
  readonly #stale = new Set<string>()
  /** What each slot was last told to run. */
  readonly #told = new Map<string, { readonly rung: Rung; readonly psnrDb?: number }>()
  readonly #unsubscribe: () => void
  #sorted: readonly DeviceRow[] | undefined

  constructor(options: OverviewOptions) {
    this.#options = options
    for (const { id, desired } of options.fleet.list()) {
      this.#stale.add(id)
      for (const slot of desired?.slots ?? []) this.#told.set(`${id}/${slot.slot}`, { rung: slot.ladder[0]! })
    }
    this.#unsubscribe = options.events.subscribe((event) => this.#hear(event))
  }

  row(id: string): DeviceRow | undefined {
    const device = this.#options.fleet.get(id)
    if (device === undefined) return undefined
    const known = this.#rows.get(id)
    if (known !== undefined && !this.#stale.has(id)) return known
    const row = makeDeviceRow(device, device.recent, (slot) => {
      const view = this.#options.streams.view(`${id}/${slot}`)
      return view !== undefined && view.ageMs < RATE_AGE_MS ? view.bitsPerSecond : undefined
    })
    this.#stale.delete(id)
    this.#rows.set(id, row)
    this.#sorted = undefined
    if (known !== undefined && known.health !== row.health) this.#noteHealth(row, known.health)
    return row
  }

  /** In order of id. */
  rows(): readonly DeviceRow[] {
    for (const id of [...this.#stale]) this.row(id)
    this.#sorted ??= [...this.#rows.values()].sort((a, b) => (a.id < b.id ? -1 : 1))
    return this.#sorted
  }

  /** Of a `device/slot` under the latest plan; a reason is worked out when it is asked for. */
  why(key: string): Explanation | undefined {
    const plan = this.#options.latestPlan()
    if (plan !== this.#planned.plan)
      this.#planned = { plan, byKey: new Map(plan?.slots.map((slot) => [slot.input.key, slot] as const)) }
    return this.#planned.byKey.get(key)?.why
  }
  #planned: { plan: Plan | undefined; byKey: ReadonlyMap<string, PlannedSlot> } = {
    plan: undefined,
    byKey: new Map(),
  }

  close(): void {
    this.#unsubscribe()
  }

  #hear(event: ControllerEvent): void {
    const atMs = this.#options.clock.wallMs()
    if (event.kind === 'device') {
      const { device, what, detail } = event.data
      this.#stale.add(device)
      if (what !== 'event') return
      const { kind, message, slot } = detail as { kind: string; message: string; slot?: string }
      const where = slot === undefined ? {} : { slot }
      this.changes.add({ atMs, kind: 'event', device, ...where, what: message, why: kind, cause: kind })
    } else if (event.kind === 'plan') {
      for (const device of event.data.devices) {
        this.#stale.add(device)
        this.#noteDesired(device, atMs)
      }
    } else if (event.kind === 'budget') {
      const what = describeBudget(event.data.budget)
      this.changes.add({
        atMs,
        kind: 'budget',
        what: `${event.data.key} ${what}`,
        why: 'an operator',
        cause: event.data.key,
      })
    } else if (event.kind === 'alarm') {
      const { kind, subject, message } = event.data
      const where = subject.includes('/') ? { device: subject.split('/')[0]! } : {}
      this.changes.add({ atMs, kind: 'alarm', ...where, what: message, why: kind, cause: kind })
    }
  }

  #noteDesired(device: string, atMs: number): void {
    const desired = this.#options.fleet.get(device)?.desired
    for (const { slot, ladder } of desired?.slots ?? []) {
      const key = `${device}/${slot}`
      const why = this.why(key)
      const before = this.#told.get(key)
      const psnrDb = why?.predicted.psnrDb
      const after = { rung: ladder[0]!, ...(psnrDb === undefined ? {} : { psnrDb }) }
      this.#told.set(key, after)
      if (before !== undefined && fullId(before.rung) === fullId(after.rung)) continue
      this.changes.add({
        atMs,
        kind: 'configuration',
        device,
        slot,
        what: `${before === undefined ? 'first told' : `${shortId(before.rung)} →`} ${shortId(after.rung)}`,
        ...describeReason(why),
        ...(before === undefined ? {} : { rateBps: after.rung.rateBps - before.rung.rateBps }),
        ...(before?.psnrDb === undefined || after.psnrDb === undefined ? {} : { psnrDb: after.psnrDb - before.psnrDb }),
      })
    }
  }

  #noteHealth(row: DeviceRow, before: Health): void {
    this.changes.add({
      atMs: this.#options.clock.wallMs(),
      kind: 'state',
      device: row.id,
      what: `${HEALTH_WORDS[before]} → ${HEALTH_WORDS[row.health]}`,
      why: row.reason ?? 'all is well',
      // Numbers and names in a reason differ from device to device; its first words do not.
      cause: row.reason === undefined ? 'well again' : `${HEALTH_WORDS[row.health]}: ${row.reason.split(':')[0]!}`,
    })
  }
}
