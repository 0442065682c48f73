import type { Digest } from '@espalier/shared/ids'
import type { FamilyOrder } from '@espalier/shared/messages/controller'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import { initialUpdateState, type Phase, type UpdateState } from './update-state.ts'

export type Evidence = Readonly<Record<string, unknown>>

export type UpdateEvent =
  /** This process starts. */
  | { readonly kind: 'started' }
  /** It works since a while. */
  | { readonly kind: 'proven' }
  | { readonly kind: 'ordered'; readonly order: FamilyOrder }
  /** What runs is what is wanted. */
  | { readonly kind: 'withdrawn' }
  | { readonly kind: 'fetched' }
  | { readonly kind: 'unfetchable'; readonly reason: string }
  | { readonly kind: 'verified' }
  | { readonly kind: 'corrupt'; readonly reason: string }
  | { readonly kind: 'warmed' }
  | { readonly kind: 'unfit'; readonly reason: string; readonly evidence?: Evidence }
  | { readonly kind: 'passed'; readonly evidence: Evidence }
  | { readonly kind: 'regressed'; readonly reason: string; readonly evidence: Evidence }
  /** What runs does not do so: its workers die. */
  | { readonly kind: 'failing'; readonly reason: string }
  /** The files of what should run are absent or damaged, and the disk is to blame. */
  | { readonly kind: 'damaged'; readonly reason: string }
  /** Somebody asks for the version before. */
  | { readonly kind: 'roll-back' }
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }

/** What to do, in this order; the long ones (`fetch` to `try`, always last) end in an event of their own. */
export type Step =
  | { readonly kind: 'fetch'; readonly order: FamilyOrder }
  | { readonly kind: 'verify'; readonly digest: Digest }
  /** Open it beside what runs, and check its golden outputs. */
  | { readonly kind: 'warm'; readonly digest: Digest }
  /** Let it have the frames, and judge. */
  | { readonly kind: 'try'; readonly digest: Digest }
  /** It stays: the old one is let go. */
  | { readonly kind: 'adopt' }
  /** The old one has the frames again. */
  | { readonly kind: 'giveBack' }
  | { readonly kind: 'discard' }
  /** Run another version that is here, warm and checked, but on no trial. */
  | { readonly kind: 'activate'; readonly digest: Digest; readonly isSafe: boolean }
  | { readonly kind: 'tell'; readonly event: DeviceEvent }

export interface Next {
  readonly state: UpdateState
  readonly steps: readonly Step[]
}

export interface TransitionContext {
  /** The version that came with the software: never written to, always there. */
  readonly installed: Digest
  /** Starts that died before they worked for a while, after which the version is taken to be the reason. */
  readonly maxStarts: number
}

/** Damage of the disk is repaired by fetching again, but not for ever. */
const MAX_REPAIRS = 3
/** Trials that end with the process: a device whose power fails is innocent, a version that takes the device down is not. */
const MAX_CUTS = 3

type Row = (state: UpdateState, event: UpdateEvent, context: TransitionContext) => Next | undefined

const stay = (state: UpdateState): Next => ({ state, steps: [] })

function tell(kind: string, state: UpdateState, reason: string, evidence: Evidence = {}): Step {
  const { running, target, attempt } = state
  const about = { running, ...(target ? { target: target.manifestDigest } : {}), attempt }
  return { kind: 'tell', event: { kind, message: reason.slice(0, 1000), evidence: { ...about, ...evidence } } }
}

const short = (digest: string): string => digest.slice(0, 12)

/** Without what an earlier attempt said. */
function without(state: UpdateState): UpdateState {
  const { reason: _reason, evidence: _evidence, ...rest } = state
  return rest
}

function begin(state: UpdateState, order: FamilyOrder, before: readonly Step[] = []): Next {
  const isSame = state.target?.manifestDigest === order.manifestDigest
  const next: UpdateState = {
    ...without(state),
    phase: 'fetch',
    target: order,
    attempt: isSame ? state.attempt + 1 : 1,
    repairs: 0,
    cuts: 0,
  }
  return {
    state: next,
    steps: [
      ...before,
      tell('update-begun', next, `Fetching version ${short(order.manifestDigest)}`),
      { kind: 'fetch', order },
    ],
  }
}

function rollBack(state: UpdateState, reason: string, evidence: Evidence = {}, before: readonly Step[] = []): Next {
  const next: UpdateState = { ...state, phase: 'rolled-back', reason: reason.slice(0, 500), evidence: { ...evidence } }
  return { state: next, steps: [...before, tell('update-rolled-back', next, reason, evidence)] }
}

/** What runs cannot: the version before, or the smallest variant of the one that came with the software. */
function fallBack(state: UpdateState, reason: string, { installed }: TransitionContext): Next {
  const { lastGood, running, ...rest } = state
  const why = reason.slice(0, 500)
  if (lastGood !== undefined && lastGood !== running) {
    const next: UpdateState = {
      ...rest,
      phase: 'rolled-back',
      running: lastGood,
      isSafe: false,
      starts: 0,
      reason: why,
    }
    return {
      state: { ...next, target: { manifestDigest: running }, evidence: { failed: running } },
      steps: [
        tell('update-rolled-back', { ...next, target: { manifestDigest: running } }, reason),
        { kind: 'activate', digest: lastGood, isSafe: false },
      ],
    }
  }
  const next: UpdateState = { ...rest, phase: 'safe', running: installed, isSafe: true, starts: 0, reason: why }
  const failed = running === installed ? next : { ...next, target: { manifestDigest: running } }
  return {
    state: { ...failed, target: failed.target ?? { manifestDigest: installed }, attempt: Math.max(1, failed.attempt) },
    steps: [
      ...(state.isSafe && running === installed ? [] : [tell('safe-mode', next, reason, { failed: running })]),
      { kind: 'activate', digest: installed, isSafe: true },
    ],
  }
}

/** What was committed is no longer whole: another version runs while it is fetched again. */
function repair(state: UpdateState, reason: string, context: TransitionContext): Next {
  const { running, target: last } = state
  const order = last?.manifestDigest === running ? last : { manifestDigest: running }
  const { state: fallen, steps } = fallBack(state, reason, context)
  const again = begin({ ...fallen, target: order }, order)
  return {
    state: again.state,
    steps: [tell('store-decayed', state, reason), ...steps.filter(({ kind }) => kind !== 'tell'), ...again.steps],
  }
}

/** As it was before the order: nothing was committed. */
function withdraw(state: UpdateState, before: readonly Step[] = []): Next {
  const { target: _target, ...rest } = without(state)
  const next: UpdateState = { ...rest, phase: state.isSafe ? 'safe' : 'idle', attempt: 0 }
  return {
    state: next,
    steps: [...before, tell('update-withdrawn', state, 'The order was withdrawn before it was committed')],
  }
}

/** What is common to everything that is under way. */
const underWay =
  (undo: readonly Step[], repeat: (state: UpdateState) => readonly Step[]): Row =>
  (state, event, context) => {
    switch (event.kind) {
      case 'ordered':
        return event.order.manifestDigest === state.target?.manifestDigest
          ? stay({ ...state, target: event.order })
          : begin(state, event.order, undo)
      case 'withdrawn':
        return withdraw(state, undo)
      case 'roll-back':
        return rollBack(state, 'Rolled back by command, before it was committed', {}, undo)
      case 'started':
        return resume(state, context)
      case 'damaged':
      case 'failing': {
        // What is on its way may be the cure: it goes on, beside whatever still runs.
        const { state: fallen, steps } = fallBack(state, event.reason, context)
        const { phase, target, attempt } = state
        return { state: { ...without(fallen), phase, target, attempt }, steps: [...steps, ...repeat(state)] }
      }
      default:
        return undefined
    }
  }

/** A start in the middle: everything that is here already is found by looking again. */
function resume(state: UpdateState, context: TransitionContext): Next {
  const starts = state.starts + 1
  const isCut = state.phase === 'warm' || state.phase === 'trial'
  const cuts = state.cuts + (isCut ? 1 : 0)
  if (cuts >= MAX_CUTS)
    return rollBack({ ...state, starts, cuts }, `${cuts} times this device stopped while it was warmed or tried`, {
      cuts,
    })
  const next: UpdateState = { ...state, phase: 'fetch', starts, cuts }
  const steps: Step[] = [{ kind: 'fetch', order: state.target! }]
  if (starts <= context.maxStarts) return { state: next, steps }
  const { state: fallen, steps: falling } = fallBack(next, deadStarts(starts - 1), context)
  return {
    state: { ...without(fallen), phase: 'fetch', target: state.target, attempt: state.attempt },
    steps: [...falling, ...steps],
  }
}

const deadStarts = (count: number): string => `${count} starts in a row died before they worked for a while`

const resting: Row = (state, event, context) => {
  switch (event.kind) {
    case 'started': {
      const starts = state.starts + 1
      if (starts > context.maxStarts) return fallBack({ ...state, starts }, deadStarts(starts - 1), context)
      return stay({ ...state, starts })
    }
    case 'ordered': {
      const { manifestDigest } = event.order
      if (manifestDigest === state.running && !state.isSafe) return stay(state)
      // It failed here, and nobody asked for anything else since: once more would fail once more.
      const hasFailed = state.phase === 'rolled-back' || state.phase === 'safe'
      if (hasFailed && state.target?.manifestDigest === manifestDigest) return stay(state)
      return begin(state, event.order)
    }
    case 'withdrawn': {
      if (state.phase !== 'rolled-back') return stay(state)
      // Its reason stays to be read; but the same order after this one is a new one.
      const { target: _target, ...rest } = state
      return stay({ ...rest, phase: 'idle', attempt: 0 })
    }
    case 'failing':
      return fallBack(state, event.reason, context)
    case 'damaged':
      return state.running === context.installed
        ? fallBack(state, event.reason, context)
        : repair(state, event.reason, context)
    case 'resume': {
      if (!state.isSafe) return undefined
      const next: UpdateState = { ...without(state), phase: 'idle', isSafe: false, isPaused: false, starts: 0 }
      return { state: next, steps: [{ kind: 'activate', digest: state.running, isSafe: false }] }
    }
    case 'roll-back': {
      if (state.lastGood === undefined) return stay(state)
      return fallBack(state, 'Rolled back by command', context)
    }
    default:
      return undefined
  }
}

const target = (state: UpdateState): Digest => state.target!.manifestDigest

const fetchPhase: Row = (state, event) => {
  switch (event.kind) {
    case 'fetched':
      return { state: { ...state, phase: 'verify' }, steps: [{ kind: 'verify', digest: target(state) }] }
    case 'unfetchable':
      return rollBack(state, event.reason)
    default:
      return undefined
  }
}

/** What was fetched is no longer what came: fetch what is missing. */
function refetch(state: UpdateState, reason: string): Next {
  const repairs = state.repairs + 1
  const next: UpdateState = { ...state, phase: 'fetch', repairs }
  if (repairs > MAX_REPAIRS)
    return rollBack({ ...state, repairs }, `The disk damaged it ${repairs} times: ${reason}`, { repairs })
  return {
    state: next,
    steps: [tell('store-decayed', next, reason, { repairs }), { kind: 'fetch', order: state.target! }],
  }
}

const verifyPhase: Row = (state, event) => {
  switch (event.kind) {
    case 'verified':
      return { state: { ...state, phase: 'warm' }, steps: [{ kind: 'warm', digest: target(state) }] }
    case 'corrupt':
      return refetch(state, event.reason)
    default:
      return undefined
  }
}

const warmPhase: Row = (state, event) => {
  switch (event.kind) {
    case 'warmed':
      return { state: { ...state, phase: 'trial' }, steps: [{ kind: 'try', digest: target(state) }] }
    case 'corrupt':
      return refetch(state, event.reason)
    case 'unfit':
      return rollBack(state, event.reason, event.evidence, [{ kind: 'discard' }])
    default:
      return undefined
  }
}

const trialPhase: Row = (state, event) => {
  switch (event.kind) {
    case 'passed': {
      const next: UpdateState = {
        ...without(state),
        phase: 'committed',
        lastGood: state.running,
        running: target(state),
        isSafe: false,
        evidence: { ...event.evidence },
      }
      const message = `Version ${short(next.running)} is committed`
      return { state: next, steps: [{ kind: 'adopt' }, tell('update-committed', next, message, event.evidence)] }
    }
    case 'regressed':
      return rollBack(state, event.reason, event.evidence, [{ kind: 'giveBack' }])
    case 'failing':
      return rollBack(state, event.reason, { failed: target(state) }, [{ kind: 'giveBack' }])
    default:
      return undefined
  }
}

/** For each phase the rows of its own, then what is common to its kind. */
const TABLE: { readonly [P in Phase]: readonly Row[] } = {
  idle: [resting],
  committed: [resting],
  'rolled-back': [resting],
  safe: [resting],
  fetch: [fetchPhase, underWay([], ({ target: order }) => [{ kind: 'fetch', order: order! }])],
  verify: [verifyPhase, underWay([], (state) => [{ kind: 'verify', digest: target(state) }])],
  warm: [warmPhase, underWay([{ kind: 'discard' }], (state) => [{ kind: 'warm', digest: target(state) }])],
  trial: [trialPhase, underWay([{ kind: 'giveBack' }], (state) => [{ kind: 'try', digest: target(state) }])],
}

/** What holds in every phase. */
const always: Row = (state, event) => {
  switch (event.kind) {
    case 'proven':
      return stay({ ...state, starts: 0 })
    case 'pause':
      return stay({ ...state, isPaused: true })
    case 'resume':
      return stay({ ...state, isPaused: false })
    default:
      return undefined
  }
}

/**
 * What becomes of a slot's versions, and what is to be done about it. Pure; the state is written down before the steps
 * are taken. An event that comes too late for its phase changes nothing.
 */
export function transition(state: UpdateState, event: UpdateEvent, context: TransitionContext): Next {
  for (const row of [...TABLE[state.phase], always]) {
    const next = row(state, event, context)
    if (next !== undefined) return next
  }
  return { state, steps: [] }
}

/** A slot that was never updated, or of which nothing is known any more. */
export const fresh = ({ installed }: TransitionContext): UpdateState => initialUpdateState(installed)
