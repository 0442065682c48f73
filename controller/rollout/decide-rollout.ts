import { assignLate, assignWaves } from './assign-waves.ts'
import type { Candidate } from './candidate.ts'
import { isWithinHours } from './hours.ts'
import { type Comparison, type Member, type Rollout, type SlotKey, slotKey, type Wave } from './rollout.ts'

/** What a rollout sees of the fleet. */
export interface Situation {
  readonly nowMs: number
  /** Slots of its group by key. */
  readonly candidates: ReadonlyMap<SlotKey, Candidate>
  /** The devices of the wave that committed against those that have the old version. */
  readonly compare: (isInterim: boolean) => Comparison[]
  /** Whether enough frames were counted on every device of the wave that committed and is in contact. */
  readonly isMeasured: () => boolean
  /** What a slot's frames cost under the version that it has. */
  readonly costsBefore: (key: SlotKey) => Member['costsBefore']
}

export type Step =
  | { readonly kind: 'save-member'; readonly member: Member }
  /** That time passed for a device out of contact: to be remembered, and not worth a write. */
  | { readonly kind: 'note-member'; readonly member: Member }
  | { readonly kind: 'drop-member'; readonly key: SlotKey }
  /** `actions` are what the audit says; none: only the reason changed. */
  | { readonly kind: 'save-rollout'; readonly rollout: Rollout; readonly actions: readonly string[] }

export type Action = 'pause' | 'resume' | 'stop' | 'roll-back'

/** A rollout as it is being changed, and what must be saved of it. */
class Draft {
  rollout: Rollout
  readonly members: Map<SlotKey, Member>
  readonly nowMs: number
  readonly #before: ReadonlyMap<SlotKey, Member>
  readonly #rolloutBefore: Rollout
  readonly #actions: string[] = []

  constructor(rollout: Rollout, members: ReadonlyMap<SlotKey, Member>, nowMs: number) {
    this.rollout = rollout
    this.#rolloutBefore = rollout
    this.members = new Map(members)
    this.#before = members
    this.nowMs = Math.round(nowMs)
  }

  set(member: Member, change: Partial<Member>): void {
    if (Object.keys(change).length === 0) return
    this.members.set(slotKey(member), { ...member, ...change })
  }

  change(change: Partial<Rollout>, action?: string): void {
    this.rollout = { ...this.rollout, ...change, changedMs: this.nowMs }
    if (action !== undefined) this.#actions.push(action)
  }

  say(reason: string): void {
    if (reason !== this.rollout.reason) this.rollout = { ...this.rollout, reason }
  }

  changeWave(change: Partial<Wave>): void {
    const waves = this.rollout.waves.map((wave, i) => (i === this.rollout.wave ? { ...wave, ...change } : wave))
    this.rollout = { ...this.rollout, waves }
  }

  in(...states: Member['state'][]): Member[] {
    return [...this.members.values()].filter(({ state }) => states.includes(state))
  }

  steps(): Step[] {
    const steps: Step[] = []
    for (const [key, member] of this.members) {
      const before = this.#before.get(key)
      if (before === member) continue
      const isSame = JSON.stringify({ ...member, movedMs: 0 }) === JSON.stringify({ ...before, movedMs: 0 })
      steps.push({ kind: isSame ? 'note-member' : 'save-member', member })
    }
    for (const key of this.#before.keys()) if (!this.members.has(key)) steps.push({ kind: 'drop-member', key })
    if (this.rollout !== this.#rolloutBefore)
      steps.push({ kind: 'save-rollout', rollout: this.rollout, actions: this.#actions })
    return steps
  }
}

type Hold = { readonly kind: 'offline' | 'metered' | 'hours'; readonly reason: string }

/** Why a device may not be ordered now. */
export function holdOf({ spec }: Pick<Rollout, 'spec'>, candidate: Candidate, nowMs: number): Hold | undefined {
  if (!candidate.isConnected) return { kind: 'offline', reason: 'not connected' }
  if (spec.unmeteredOnly && candidate.isMetered) return { kind: 'metered', reason: 'on a metered link' }
  const { hours } = spec
  if (hours !== undefined && !isWithinHours(hours, nowMs, candidate.timeZone))
    return { kind: 'hours', reason: `outside ${hours.from} to ${hours.to}` }
  return undefined
}

/** Devices come to a group, and leave it before they were ordered. */
function adopt(draft: Draft, { candidates }: Situation): void {
  const { id, spec, wave } = draft.rollout
  const fresh = [...candidates.values()].filter(
    (c) => !draft.members.has(slotKey(c)) && c.version !== undefined && c.version !== spec.manifestDigest,
  )
  const waves = wave < 0 && draft.members.size === 0 ? assignWaves(id, spec, fresh) : undefined
  // Slots of one device go together.
  const siblings = fresh.length === 0 ? [] : [...draft.members.values()].map((m) => [m.device, m.wave] as const)
  const waveOf = waves ?? new Map(siblings)
  for (const { device, slot } of fresh) {
    const own = waveOf.get(device) ?? assignLate(id, spec, device, wave)
    draft.members.set(`${device}/${slot}`, { device, slot, wave: own, state: 'waiting' })
  }
  for (const [key, member] of draft.members)
    if ((member.state === 'waiting' || member.state === 'held') && !candidates.has(key)) draft.members.delete(key)
}

const RUNNING_UPDATE = new Set(['fetch', 'verify', 'warm', 'trial'])

/** A slow link is no failure, and neither is a device out of contact: only one that does not move. */
function giveUp(member: Member, stuckS: number, nowMs: number): Partial<Member> {
  const stillMs = nowMs - (member.movedMs ?? nowMs)
  if (stillMs <= stuckS * 1000) return {}
  const where = member.update === undefined ? 'has not begun' : `stays at "${member.update.state}"`
  return { state: 'failed', reason: `stuck: ${where} for ${Math.round(stillMs / 1000)} s`, endedMs: nowMs }
}

/**
 * What became of a slot that was ordered, by what its device reports: events may be lost, and a device may have restarted.
 */
function progressOf(
  member: Member,
  { version, update: reported, isConnected }: Candidate,
  { manifestDigest, stuckS }: Rollout['spec'],
  nowMs: number,
): Partial<Member> {
  // What it says of an attempt before the order tells nothing of this one.
  const isNew = reported?.manifestDigest === manifestDigest && reported.attempt > (member.attemptsBefore ?? 0)
  const update = isNew ? reported : undefined
  const known = update === undefined ? {} : { update }
  if (update?.state === 'rolled-back' || update?.state === 'safe') {
    const what = update.state === 'safe' ? 'in safe mode' : 'rolled back'
    return { state: 'failed', reason: `${what}: ${update.reason ?? 'no reason given'}`, endedMs: nowMs, update }
  }
  if (update !== undefined && RUNNING_UPDATE.has(update.state)) {
    const next: Partial<Member> = { state: 'updating', reason: update.reason, update }
    const isMoving = member.update?.state !== update.state || member.update.fetchedBytes !== update.fetchedBytes
    if (isMoving || !isConnected) return { ...next, movedMs: nowMs }
    return { ...next, ...giveUp({ ...member, update }, stuckS, nowMs) }
  }
  if (version === manifestDigest)
    return member.state === 'succeeded' ? {} : { state: 'succeeded', reason: undefined, endedMs: nowMs, ...known }
  if (member.state === 'succeeded')
    return { state: 'ordered', reason: 'runs another version again', endedMs: undefined, movedMs: nowMs }
  return isConnected ? giveUp(member, stuckS, nowMs) : { movedMs: nowMs }
}

function follow(draft: Draft, { candidates }: Situation): void {
  for (const [key, member] of draft.members) {
    const candidate = candidates.get(key)
    if (candidate === undefined) continue
    const isThere = candidate.version === draft.rollout.spec.manifestDigest
    switch (member.state) {
      case 'waiting':
      case 'held':
        if (isThere) draft.set(member, { state: 'succeeded', reason: 'had it already' })
        break
      case 'ordered':
      case 'updating':
      case 'succeeded':
        draft.set(member, progressOf(member, candidate, draft.rollout.spec, draft.nowMs))
        break
      case 'returning':
        if (candidate.version === member.fromDigest && !RUNNING_UPDATE.has(candidate.update?.state ?? ''))
          draft.set(member, { state: 'returned', endedMs: draft.nowMs })
        break
      case 'failed':
      case 'withdrawn':
      case 'returned':
        break
    }
  }
}

/** Give the version to all whose wave has come and whom nothing holds. */
function order(draft: Draft, { candidates, nowMs, costsBefore }: Situation): void {
  const { wave, spec } = draft.rollout
  let updating = draft.in('ordered', 'updating').length
  for (const [key, member] of draft.members) {
    if ((member.state !== 'waiting' && member.state !== 'held') || member.wave > wave) continue
    const candidate = candidates.get(key)
    if (candidate === undefined) continue
    const hold = holdOf(draft.rollout, candidate, nowMs)
    if (hold !== undefined) {
      if (member.reason !== hold.reason || member.state !== 'held')
        draft.set(member, { state: 'held', reason: hold.reason })
    } else if (updating >= spec.maxUpdating) {
      const reason = `${spec.maxUpdating} others are updating`
      if (member.reason !== reason) draft.set(member, { state: 'held', reason })
    } else {
      updating++
      const isOurs = candidate.update?.manifestDigest === spec.manifestDigest
      draft.set(member, {
        state: 'ordered',
        reason: undefined,
        fromDigest: candidate.version,
        orderedMs: Math.round(nowMs),
        movedMs: Math.round(nowMs),
        attemptsBefore: isOurs ? candidate.update!.attempt : 0,
        costsBefore: costsBefore(key),
      })
    }
  }
}

const names = (members: readonly Member[], count = 3): string =>
  members
    .slice(0, count)
    .map((member) => `${slotKey(member)}${member.reason === undefined ? '' : ` (${member.reason})`}`)
    .join(', ') + (members.length > count ? ` and ${members.length - count} more` : '')

/** Too many failures, in all or in the wave that runs. */
function findFailure(draft: Draft): string | undefined {
  const { spec, wave } = draft.rollout
  const failed = draft.in('failed')
  if (failed.length === 0) return undefined
  const budget = Math.floor(spec.errorBudgetShare * draft.members.size + 1e-9)
  if (failed.length > budget)
    return `${failed.length} of ${draft.members.size} failed, the error budget is ${budget}: ${names(failed)}`
  const inWave = [...draft.members.values()].filter((member) => member.wave === wave)
  const failedInWave = failed.filter((member) => member.wave === wave)
  const may = Math.floor((1 - spec.successShare) * inWave.length + 1e-9)
  if (failedInWave.length > may)
    return `${failedInWave.length} of ${inWave.length} failed in wave ${wave + 1}, at most ${may} may: ${names(failedInWave)}`
  return undefined
}

/** Those that have not committed are told to stay as they are: an abort counts until then. */
function withdraw(draft: Draft): void {
  for (const member of draft.in('ordered', 'updating'))
    draft.set(member, { state: 'withdrawn', reason: draft.rollout.reason })
}

function rollBack(draft: Draft, reason: string): void {
  draft.change({ state: 'rolling-back', reason }, 'roll-back')
  // One that had the version before was never ordered, and stays.
  for (const member of draft.in('ordered', 'updating', 'succeeded', 'withdrawn'))
    if (member.fromDigest !== undefined) draft.set(member, { state: 'returning', reason: undefined })
}

function stop(draft: Draft, reason: string): void {
  if (draft.rollout.wave >= 0) draft.changeWave({ state: 'failed', judgedMs: draft.nowMs })
  draft.change({ state: 'stopped', reason }, 'stop')
  withdraw(draft)
  if (draft.rollout.spec.onStop === 'roll-back') rollBack(draft, reason)
}

/** @returns Whether the rollout stopped. */
function stopOnFailure(draft: Draft): boolean {
  const failure = findFailure(draft)
  if (failure !== undefined) stop(draft, failure)
  return failure !== undefined
}

const describe = ({ metric, changePct, newDevices, oldDevices, pValue, method, tolerancePct }: Comparison): string =>
  `${metric} ${changePct!.toFixed(1)} % worse, ${tolerancePct.toFixed(0)} % may be (${newDevices} new against ${oldDevices} old slots, ${
    pValue === undefined ? method : `${method} p = ${pValue.toPrecision(2)}`
  })`

/** @returns Whether the rollout stopped. */
function stopOnRegression(draft: Draft, comparisons: Comparison[]): boolean {
  draft.changeWave({ comparisons })
  const worse = comparisons.filter(({ isRegression }) => isRegression)
  if (worse.length === 0) return false
  stop(draft, `regression in wave ${draft.rollout.wave + 1}: ${worse.map(describe).join('; ')}`)
  return true
}

function enterWave(draft: Draft, wave: number): void {
  draft.change({ wave, reason: `wave ${wave + 1} runs` }, `wave ${wave + 1}`)
  draft.changeWave({ state: 'running', startedMs: draft.nowMs })
}

function finishWave(draft: Draft, isApproved: boolean): void {
  const { wave, waves, spec } = draft.rollout
  draft.changeWave({ state: 'passed', judgedMs: draft.nowMs })
  if (wave === waves.length - 1)
    draft.change({ state: 'done', reason: 'every wave passed; devices that join later get it too' }, 'finish')
  else if (spec.needsApproval && !isApproved)
    draft.change({ state: 'paused', reason: `wave ${wave + 1} passed; the next waits for approval` }, 'pause')
  else enterWave(draft, wave + 1)
}

/** What the wave that runs still waits for; undefined: nothing. */
function findWaiting(draft: Draft, { candidates, nowMs }: Situation): string | undefined {
  const { wave } = draft.rollout
  const due = [...draft.members.values()].filter((member) => member.wave <= wave)
  const under = due.filter(({ state }) => state === 'ordered' || state === 'updating')
  const held = due.filter(({ state }) => state === 'held' || state === 'waiting')
  // Whoever is out of contact or on a metered link joins later: nobody knows when.
  const soon = held.filter((member) => {
    const kind = holdOf(draft.rollout, candidates.get(slotKey(member))!, nowMs)?.kind
    return kind !== 'offline' && kind !== 'metered'
  })
  const ended = due.some(({ state }) => state === 'succeeded')
  if (under.length + soon.length > 0 || (due.length > 0 && !ended))
    return [
      `wave ${wave + 1}`,
      ...(under.length > 0 ? [`${under.length} updating`] : []),
      ...(held.length > 0 ? [`${held.length} held: ${names(held)}`] : []),
    ].join(', ')
  return undefined
}

function advance(draft: Draft, situation: Situation): void {
  if (draft.members.size === 0) {
    draft.say('no device needs it yet')
    return
  }
  if (draft.rollout.wave < 0) enterWave(draft, 0)
  order(draft, situation)
  if (stopOnFailure(draft)) return
  if ([...draft.members.values()].every((member) => member.wave !== draft.rollout.wave)) {
    finishWave(draft, false)
    return
  }
  const wave = draft.rollout.waves[draft.rollout.wave]!
  const { soakS } = draft.rollout.spec
  if (wave.state === 'running') {
    const waiting = findWaiting(draft, situation)
    if (waiting !== undefined) {
      draft.say(waiting)
      return
    }
    draft.changeWave({ state: 'soaking', soakFromMs: draft.nowMs })
    draft.change({ reason: `wave ${draft.rollout.wave + 1} is watched for ${soakS} s` })
  }
  const { soakFromMs } = draft.rollout.waves[draft.rollout.wave]!
  const soakedMs = draft.nowMs - soakFromMs!
  const isLong = soakedMs >= soakS * 1000
  // Twice as long at most: a device that makes no frames would never be measured.
  const isOver = isLong && (soakedMs >= 2 * soakS * 1000 || situation.isMeasured())
  if (isLong && !isOver) draft.say(`wave ${draft.rollout.wave + 1} is watched on: too few frames were counted yet`)
  if (stopOnRegression(draft, situation.compare(!isOver))) return
  if (isOver) finishWave(draft, false)
}

/** What happens next to a rollout. Nothing is done here: steps say what to save, and members say what devices are ordered. */
export function decideRollout(rollout: Rollout, members: ReadonlyMap<SlotKey, Member>, situation: Situation): Step[] {
  const draft = new Draft(rollout, members, situation.nowMs)
  if (rollout.state === 'running' || rollout.state === 'paused' || rollout.state === 'done') adopt(draft, situation)
  follow(draft, situation)
  switch (rollout.state) {
    case 'running':
      advance(draft, situation)
      break
    case 'done':
      // Late devices count as the others did.
      order(draft, situation)
      stopOnFailure(draft)
      break
    case 'paused':
      stopOnFailure(draft)
      break
    case 'rolling-back': {
      const left = draft.in('returning').filter((member) => situation.candidates.get(slotKey(member))?.isConnected)
      const away = draft.in('returning').length - left.length
      if (left.length > 0) draft.say(`${rollout.reason.split(' / ')[0]} / ${left.length} on their way back`)
      else
        draft.change(
          {
            state: 'rolled-back',
            reason: `${rollout.reason.split(' / ')[0]} / ${away} out of contact go back when they return`,
          },
          'rolled-back',
        )
      break
    }
    case 'planned':
    case 'stopped':
    case 'rolled-back':
      break
  }
  return draft.steps()
}

/** What an operator may do now. */
export function actionsOf({ state }: Pick<Rollout, 'state'>): Action[] {
  switch (state) {
    case 'planned':
      return ['resume', 'stop']
    case 'running':
      return ['pause', 'stop', 'roll-back']
    case 'paused':
      return ['resume', 'stop', 'roll-back']
    case 'stopped':
      return ['roll-back']
    case 'done':
      return ['stop', 'roll-back']
    case 'rolling-back':
    case 'rolled-back':
      return []
  }
}

/** Do what an operator asked for; the action is one of `actionsOf`. */
export function applyAction(
  rollout: Rollout,
  members: ReadonlyMap<SlotKey, Member>,
  action: Action,
  { nowMs, reason }: { nowMs: number; reason: string },
): Step[] {
  const draft = new Draft(rollout, members, nowMs)
  switch (action) {
    case 'pause':
      draft.change({ state: 'paused', reason }, action)
      break
    case 'resume':
      draft.change({ state: 'running', reason }, action)
      if (rollout.wave >= 0 && rollout.waves[rollout.wave]!.state === 'passed') finishWave(draft, true)
      break
    case 'stop':
      draft.change({ state: 'stopped', reason }, action)
      withdraw(draft)
      break
    case 'roll-back':
      rollBack(draft, reason)
      break
  }
  return draft.steps()
}

/** The version that a member's slot should run; undefined: whatever it has. */
export function orderOf({ spec }: Pick<Rollout, 'spec'>, member: Member): Member['fromDigest'] {
  switch (member.state) {
    case 'waiting':
    case 'held':
      return undefined
    case 'ordered':
    case 'updating':
      return spec.manifestDigest
    case 'succeeded':
      return spec.manifestDigest
    case 'failed':
    case 'withdrawn':
    case 'returning':
    case 'returned':
      return member.fromDigest
  }
}
