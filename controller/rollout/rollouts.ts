import type { Clock } from '@espalier/shared/clock'
import { StoreError } from '@espalier/shared/errors'
import type { DeviceId, Digest, SlotId } from '@espalier/shared/ids'
import type { FamilyOrder } from '@espalier/shared/messages/controller'
import type { Logger } from 'pino'
import type { EventBus } from '../events.ts'
import type { Families } from '../families.ts'
import { type DeviceRecord, type Fleet, isConnected } from '../ingest/fleet.ts'
import type { DesiredBody } from '../planner/desired-state.ts'
import { type Actor, type AuditNote, CONTROLLER } from '../store/audit.ts'
import type { Store } from '../store/open-store.ts'
import type { TelemetryRow } from '../store/telemetry.ts'
import { addFamilyOrders } from './add-family-orders.ts'
import { assignWaves } from './assign-waves.ts'
import { BUILT_IN_LABELS, type Candidate, candidatesOf } from './candidate.ts'
import { compareCosts } from './compare-costs.ts'
import { CostBook } from './cost-book.ts'
import {
  type Action,
  actionsOf,
  applyAction,
  decideRollout,
  holdOf,
  orderOf,
  type Situation,
  type Step,
} from './decide-rollout.ts'
import {
  type Comparison,
  isLive,
  type Member,
  type Rollout,
  RolloutError,
  type RolloutSpec,
  type SlotKey,
  slotKey,
} from './rollout.ts'
import { couldOverlap, matchesSelector, parseSelector } from './selector.ts'

export interface RolloutsOptions {
  readonly store: Store
  readonly fleet: Fleet
  readonly families: Families
  readonly events: EventBus
  readonly clock: Clock
  readonly log: Logger
  /** Devices must hear of other versions. */
  readonly onOrders: (reason: string) => void
  readonly intervalMs?: number
}

export type Members = ReadonlyMap<SlotKey, Member>

export interface Preview {
  readonly waves: readonly (readonly { readonly candidate: Candidate; readonly held: string | undefined }[])[]
  readonly alreadyThere: number
  readonly conflicts: readonly string[]
}

/** The rollouts of this controller: decides what comes next for each, and does it. */
export interface Rollouts {
  /** In the order in which they were made. */
  list(): readonly Rollout[]
  get(id: string): Rollout | undefined
  members(id: string): Members
  preview(spec: RolloutSpec): Preview
  /** @throws {RolloutError} If the version is not here, or another rollout of the family could meet it in a device. */
  create(spec: RolloutSpec, options: { readonly isStarted: boolean; readonly by: Actor }): Rollout
  /** @throws {RolloutError} If that cannot be done to it now. */
  act(id: string, action: Action, options: { readonly by: Actor; readonly reason?: string | undefined }): Rollout
  /** An operator told a device to go back by itself: it is left where it goes. */
  leave(device: DeviceId, slot: SlotId): void
  /** Learn what frames cost. */
  observe(device: DeviceRecord, before: TelemetryRow, after: TelemetryRow): void
  /** Desired states with the versions that devices should run. */
  withFamilyOrders(bodies: Map<DeviceId, DesiredBody>): Map<DeviceId, DesiredBody>
  /** Decide and do what is next, now; otherwise every second. */
  tick(): void
  close(): void
}

const INTERVAL_MS = 1000
/** Rollouts that are over are looked at less often: somebody may join, or come back. */
const REST_EVERY = 5
/** While a wave soaks, its costs are compared this often. */
const COMPARE_EVERY_MS = 10_000

export function createRollouts(options: RolloutsOptions): Rollouts {
  const { store, fleet, families, clock, log } = options
  const rollouts = new Map(store.rollouts.list().map((rollout) => [rollout.id, rollout]))
  const membersOf = new Map<string, Map<SlotKey, Member>>()
  for (const id of rollouts.keys()) {
    // Nobody watched while the controller was away: nothing was stuck.
    const movedMs = clock.wallMs()
    membersOf.set(id, new Map(store.rollouts.members(id).map((member) => [slotKey(member), { ...member, movedMs }])))
  }
  const costs = new CostBook(families, clock)
  /** Waves of which the old versions' costs are counted from the start. */
  const marked = new Map<string, number>()
  const compared = new Map<string, { readonly atMs: number; readonly comparisons: Comparison[] }>()
  let orders = new Map<SlotKey, FamilyOrder>()
  /** Versions whose cards costs are relative to, of slots in a rollout. */
  let references = new Map<string, Digest>()
  let ticks = 0

  /** @returns Whether devices must hear of something. */
  function readOrders(): boolean {
    const before = orders
    orders = new Map()
    references = new Map()
    // Later rollouts have the last word.
    for (const rollout of rollouts.values())
      for (const [key, member] of membersOf.get(rollout.id)!) {
        const manifestDigest = orderOf(rollout, member)
        if (manifestDigest === undefined) continue
        const isNew = manifestDigest === rollout.spec.manifestDigest
        orders.set(key, {
          manifestDigest,
          ...(isNew && rollout.spec.url !== undefined ? { url: rollout.spec.url } : {}),
        })
        if (member.fromDigest !== undefined) references.set(key, member.fromDigest)
      }
    const isSame = [...orders].every(([key, order]) => {
      const known = before.get(key)
      return known?.manifestDigest === order.manifestDigest && known.url === order.url
    })
    return !isSame || before.size !== orders.size
  }
  readOrders()

  /** Slots that a rollout may order: those of its group that no later rollout of the family has taken over. */
  function groupOf(rollout: Rollout, all: readonly Candidate[]): Map<SlotKey, Candidate> {
    const own = parseSelector(rollout.spec.selector)
    const list = [...rollouts.values()]
    const later = list
      .slice(list.findIndex(({ id }) => id === rollout.id) + 1)
      .filter(({ spec, state, wave }) => spec.family === rollout.spec.family && state !== 'planned' && wave >= 0)
      .map(({ spec }) => parseSelector(spec.selector))
    return new Map(
      all
        .filter(({ labels }) => matchesSelector(own, labels) && !later.some((other) => matchesSelector(other, labels)))
        .map((candidate) => [slotKey(candidate), candidate]),
    )
  }

  const familySlots = (family: string): Candidate[] => fleet.list().flatMap((device) => candidatesOf(device, family))

  function compare(rollout: Rollout, members: Members, all: readonly Candidate[], isInterim: boolean): Comparison[] {
    const known = compared.get(rollout.id)
    const nowMs = clock.monotonicMs()
    if (isInterim && known !== undefined && nowMs - known.atMs < COMPARE_EVERY_MS) return known.comparisons
    const newer = [...members.values()]
      .filter(
        (member) => member.wave === rollout.wave && member.state === 'succeeded' && member.fromDigest !== undefined,
      )
      .map((member) => costs.change(slotKey(member), member.costsBefore))
    const older = all
      .filter((candidate) => {
        const state = members.get(slotKey(candidate))?.state ?? 'waiting'
        const isOld = state === 'waiting' || state === 'held'
        return isOld && candidate.isConnected && candidate.version !== rollout.spec.manifestDigest
      })
      .map((candidate) => costs.change(slotKey(candidate)))
    const comparisons = compareCosts(newer, older, rollout.spec.tolerance, isInterim)
    compared.set(rollout.id, { atMs: nowMs, comparisons })
    return comparisons
  }

  /** On disk first; what devices are told follows from it. */
  function save(id: string, steps: readonly Step[], by: Actor, note?: Pick<AuditNote, 'action' | 'after'>): void {
    for (const step of steps) if (step.kind === 'note-member') membersOf.get(id)?.set(slotKey(step.member), step.member)
    if (steps.every(({ kind }) => kind === 'note-member')) return
    const saved = steps.flatMap((step) => (step.kind === 'save-member' ? [step.member] : []))
    const keys = steps.flatMap((step) => (step.kind === 'drop-member' ? [step.key] : []))
    const before = rollouts.get(id)
    const held = membersOf.get(id) ?? new Map<SlotKey, Member>()
    let rollout: Rollout | undefined
    let actions: readonly string[] = []
    for (const step of steps) if (step.kind === 'save-rollout') ({ rollout, actions } = step)
    const notes = actions.map((action): AuditNote => {
      const reason = rollout?.reason
      const change = note?.action === action ? note.after : { state: rollout?.state, reason }
      return {
        atMs: clock.wallMs(),
        by,
        kind: 'rollout',
        action,
        subject: id,
        before: before && { state: before.state },
        after: change,
      }
    })
    store.rollouts.apply(id, {
      ...(rollout === undefined ? {} : { rollout }),
      saved,
      dropped: keys.flatMap((key) => held.get(key) ?? []),
      notes,
    })
    if (rollout !== undefined) rollouts.set(id, rollout)
    for (const member of saved) held.set(slotKey(member), member)
    for (const key of keys) held.delete(key)
    membersOf.set(id, held)
    const isOrdered = readOrders()
    const now = rollouts.get(id)!
    if (actions.length > 0) log.info({ rollout: id, actions, state: now.state, reason: now.reason }, 'rollout')
    options.events.emit({ kind: 'rollout', data: { id, state: now.state, wave: now.wave + 1, reason: now.reason } })
    if (isOrdered) options.onOrders(`rollout "${id}" orders other versions`)
  }

  function step(rollout: Rollout, all: readonly Candidate[]): void {
    const members = membersOf.get(rollout.id)!
    if (rollout.state === 'running' && rollout.wave >= 0 && marked.get(rollout.id) !== rollout.wave) {
      marked.set(rollout.id, rollout.wave)
      compared.delete(rollout.id)
      for (const candidate of all) if (candidate.version !== rollout.spec.manifestDigest) costs.mark(slotKey(candidate))
    }
    const situation: Situation = {
      nowMs: clock.wallMs(),
      candidates: groupOf(rollout, all),
      compare: (isInterim) => compare(rollouts.get(rollout.id)!, members, all, isInterim),
      isMeasured: () =>
        [...members.values()].every((member) => {
          if (member.wave !== rollout.wave || member.state !== 'succeeded' || member.fromDigest === undefined)
            return true
          const device = fleet.get(member.device)
          return device === undefined || !isConnected(device) || costs.isMeasured(slotKey(member))
        }),
      costsBefore: (key) => costs.recent(key),
    }
    save(rollout.id, decideRollout(rollout, members, situation), CONTROLLER)
  }

  function tick(): void {
    const isRest = ticks++ % REST_EVERY !== 0
    const byFamily = new Map<string, Candidate[]>()
    for (const rollout of [...rollouts.values()]) {
      if (rollout.state === 'planned' || (isRest && !isLive(rollout))) continue
      const isOver = rollout.state === 'stopped' || rollout.state === 'rolled-back'
      if (isOver && ![...membersOf.get(rollout.id)!.values()].some(({ state }) => state === 'returning')) continue
      const { family } = rollout.spec
      const all = byFamily.get(family) ?? familySlots(family)
      byFamily.set(family, all)
      try {
        step(rollout, all)
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        // Nothing was ordered that is not on disk; the next tick decides again.
        log.error({ rollout: rollout.id, reason: error.message }, 'rollout not saved')
      }
    }
  }

  const find = (id: string): Rollout => {
    const rollout = rollouts.get(id)
    if (rollout === undefined) throw new RolloutError(`Cannot find rollout "${id}"`)
    return rollout
  }

  const conflictsOf = (spec: RolloutSpec): string[] => {
    const selector = parseSelector(spec.selector)
    return [...rollouts.values()]
      .filter((other) => isLive(other) && other.spec.family === spec.family)
      .filter((other) => couldOverlap(selector, parseSelector(other.spec.selector), BUILT_IN_LABELS))
      .map(({ id }) => id)
  }

  const timer = setInterval(tick, options.intervalMs ?? INTERVAL_MS)
  return {
    list: () => [...rollouts.values()],
    get: (id) => rollouts.get(id),
    members: (id) => membersOf.get(id) ?? new Map(),
    preview(spec) {
      const selector = parseSelector(spec.selector)
      const group = familySlots(spec.family).filter(({ labels }) => matchesSelector(selector, labels))
      const fresh = group.filter(({ version }) => version !== undefined && version !== spec.manifestDigest)
      const assigned = assignWaves(store.rollouts.nextId(spec.family), spec, fresh)
      const nowMs = clock.wallMs()
      return {
        waves: spec.wavesPct.map((_, i) =>
          fresh
            .filter(({ device }) => assigned.get(device) === i)
            .map((candidate) => ({ candidate, held: holdOf({ spec }, candidate, nowMs)?.reason })),
        ),
        alreadyThere: group.filter(({ version }) => version === spec.manifestDigest).length,
        conflicts: conflictsOf(spec),
      }
    },
    create(spec, { isStarted, by }) {
      const family = families.version(spec.manifestDigest)
      const known = families.list().filter(({ manifest }) => manifest.family === spec.family)
      if (family?.manifest.family !== spec.family)
        throw new RolloutError(
          `Cannot bring out "${spec.manifestDigest}": expected a version of "${spec.family}" that is here, one of ${known.map((each) => `${each.manifestDigest} (${each.manifest.version})`).join(', ') || 'none'}; add one with "espalier families add"`,
        )
      const conflicts = conflictsOf(spec)
      if (conflicts.length > 0)
        throw new RolloutError(
          `Cannot bring out "${spec.family}" to "${spec.selector}": a device could be in ${conflicts.map((id) => `"${id}" (${rollouts.get(id)!.spec.selector || 'all'})`).join(', ')} too; stop that one, or make the selectors exclude each other`,
        )
      const nowMs = Math.round(clock.wallMs())
      const rollout: Rollout = {
        id: store.rollouts.nextId(spec.family),
        spec,
        state: isStarted ? 'running' : 'planned',
        wave: -1,
        waves: spec.wavesPct.map(() => ({ state: 'waiting', comparisons: [] })),
        reason: isStarted ? 'begins' : 'waits for resume',
        createdMs: nowMs,
        createdBy: by.name,
        changedMs: nowMs,
      }
      membersOf.set(rollout.id, new Map())
      save(rollout.id, [{ kind: 'save-rollout', rollout, actions: ['create'] }], by, { action: 'create', after: spec })
      tick()
      return find(rollout.id)
    },
    act(id, action, { by, reason }) {
      const rollout = find(id)
      const possible = actionsOf(rollout)
      if (!possible.includes(action))
        throw new RolloutError(
          `Cannot ${action} rollout "${id}": it is ${rollout.state} (${rollout.reason}), expected ${possible.length === 0 ? 'nothing more' : `one of ${possible.join(', ')}`}`,
        )
      const said = `${action} by ${by.name}${reason === undefined ? '' : `: ${reason}`}`
      save(id, applyAction(rollout, membersOf.get(id)!, action, { nowMs: clock.wallMs(), reason: said }), by)
      tick()
      return find(id)
    },
    leave(device, slot) {
      for (const { id } of rollouts.values()) {
        const member = membersOf.get(id)!.get(`${device}/${slot}`)
        if (member === undefined || member.state === 'waiting' || member.state === 'held') continue
        const left: Member = {
          ...member,
          state: 'withdrawn',
          reason: 'rolled back by a command',
          fromDigest: undefined,
        }
        save(id, [{ kind: 'save-member', member: left }], CONTROLLER)
      }
    },
    observe: (device, before, after) => costs.observe(device, before, after, (key) => references.get(key)),
    withFamilyOrders(bodies) {
      if (orders.size === 0) return bodies
      return addFamilyOrders(bodies, fleet.list().filter(isConnected), (key) => orders.get(key as SlotKey))
    },
    tick,
    close: () => clearInterval(timer),
  }
}
