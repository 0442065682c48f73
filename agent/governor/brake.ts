import type { Configuration } from '@espalier/shared/configuration'
import type { Rung } from '@espalier/shared/messages/controller'

/** The lease is kept as an average over this long. */
export const WINDOW_MS = 10_000
/**
 * How far ahead the window must be within the target: the long look paces what is left, the short one stops an
 * overdraft before it happens when a scene has changed.
 */
const HORIZONS_MS = [600, 3_000]
/** The same for power, which is measured once a second. */
const POWER_HORIZONS_MS = [2_000, 5_000]
/** One frame can be this much larger than expected, and the uplink adds a header to each: aim below the lease. */
const TARGET_SHARE = 0.97
/** Each change costs the worker a merge of the weights: tighten a little more than needed now, to do it less often. */
const TIGHTEN_SHARE = 0.95
/** Going back up asks for more room than staying, or the brake would flutter between two steps. */
const RELEASE_SHARE = 0.92
/** A step of alpha is about 2 % of rate. */
const ALPHA_STEP = 4
const MIN_RELEASE_STEPS = 2
const RELEASE_EVERY_MS = 2_000
/** What content does within this long is a change of scene, not noise. */
const SCENE_MS = 1_000
/** A slot is too slow for its rung when more than this share of its frames came late or never. */
const MISSED_SHARE = 0.5
const MISSED_SHARE_GOOD = 0.05
const MIN_OUTCOMES = 10
/** Power says something of a rung once it was measured for this long on it. */
const MIN_POWER_MS = 3_000
const FIRST_HOLD_MS = 30_000
const MAX_HOLD_MS = 600_000

export interface SentFrame {
  readonly atMs: number
  readonly bits: number
  readonly configuration: Configuration
  /** From its arrival to the sink; absent: not known. */
  readonly latencyMs?: number
}

/** What the meter said of the time up to a moment. */
export interface PowerReading {
  readonly atMs: number
  readonly durationMs: number
  /** Mean over that time: of the slot, and its share of what the device draws beside slots. */
  readonly powerW: number
  /** What the rungs that ran meanwhile were expected to draw. */
  readonly expectedW: number
}

export interface FrameOutcome {
  readonly atMs: number
  /** Later than its interval, or skipped. */
  readonly isMissed: boolean
}

/** A place on the ladder: a rung and how far its alpha is trimmed. */
export interface Position {
  readonly rung: number
  readonly alpha255: number
}

export interface BrakeState extends Position {
  /** When the position last changed. */
  readonly changedMs: number
  /** The first rung that this device is fast enough for. */
  readonly floor: { readonly rung: number; readonly sinceMs: number; readonly holdMs: number }
}

export interface Situation {
  readonly nowMs: number
  readonly ladder: readonly Rung[]
  /** Undefined: no limit. */
  readonly leaseBps: number | undefined
  /** Watts; undefined: no limit. */
  readonly leasePowerW?: number | undefined
  /** Readings of the last `WINDOW_MS`, oldest first; absent: nothing is measured. */
  readonly power?: readonly PowerReading[]
  /** Frames of the last `WINDOW_MS`, oldest first. */
  readonly sent: readonly SentFrame[]
  readonly outcomes: readonly FrameOutcome[]
  /** Bits per second that a configuration is expected to send with ordinary content. One function for one ladder: its answers are kept. */
  readonly expectedBps: (configuration: Configuration) => number
  /** Absent: 255. 0 for a task whose rate does not depend on alpha. */
  readonly maxAlpha255?: number
}

/**
 * Every place the brake may choose, in the order of preference: each rung from its planned alpha up.
 *
 * @param maxAlpha255 How far up; 0 where alpha changes nothing.
 */
export function positionsOf(ladder: readonly Rung[], maxAlpha255 = 255): Position[] {
  return ladder.flatMap(({ configuration: { alpha255 } }, rung) => {
    const steps = Math.max(0, Math.ceil((maxAlpha255 - alpha255) / ALPHA_STEP))
    return Array.from({ length: steps + 1 }, (_, i) => ({
      rung,
      alpha255: i === 0 ? alpha255 : Math.min(maxAlpha255, alpha255 + i * ALPHA_STEP),
    }))
  })
}

export function configurationAt(ladder: readonly Rung[], { rung, alpha255 }: Position): Configuration {
  return { ...ladder[rung]!.configuration, alpha255 }
}

interface Place {
  readonly position: Position
  /** With ordinary content. */
  readonly bps: number
}

/** By the function that says what to expect: a slot asks before every frame, and its answers change with the plan alone. */
const knownPlaces = new WeakMap<Situation['expectedBps'], { ladder: readonly Rung[]; places: readonly Place[] }>()

function placesOf({ ladder, expectedBps, maxAlpha255 }: Situation): readonly Place[] {
  const known = knownPlaces.get(expectedBps)
  if (known?.ladder === ladder) return known.places
  const places = positionsOf(ladder, maxAlpha255).map((position) => ({
    position,
    bps: expectedBps(configurationAt(ladder, position)),
  }))
  knownPlaces.set(expectedBps, { ladder, places })
  return places
}

/** Where nothing is allowed, less is still better than more. */
const shareOf = (part: number, allowed: number): number => (part === 0 ? 0 : part / Math.max(allowed, 1e-9))

/** How much more than expected the frames since a moment took; 1 before any. */
export function contentFactor({ sent, expectedBps }: Situation, sinceMs: number): number {
  let [bits, expectedBits] = [0, 0]
  for (const frame of sent) {
    if (frame.atMs < sinceMs) continue
    bits += frame.bits
    expectedBits += expectedBps(frame.configuration) / frame.configuration.frameRate
  }
  return expectedBits > 0 ? bits / expectedBits : 1
}

/** Bits per second that may be sent from now on so that the window is within the target at each horizon. */
function allowedBps({ nowMs, leaseBps, sent, ladder }: Situation): number {
  if (leaseBps === undefined) return Number.POSITIVE_INFINITY
  const targetBps = TARGET_SHARE * leaseBps
  // Less than two frames is no rate.
  const leastMs = 2000 / ladder[0]!.configuration.frameRate
  const allowed = HORIZONS_MS.map((ms) => {
    const horizonMs = Math.min(WINDOW_MS, Math.max(ms, leastMs))
    const keptFromMs = nowMs - WINDOW_MS + horizonMs
    const bits = sent.reduce((sum, frame) => (frame.atMs >= keptFromMs ? sum + frame.bits : sum), 0)
    return (targetBps * WINDOW_MS - bits * 1000) / horizonMs
  })
  return Math.max(0, Math.min(targetBps, ...allowed))
}

/** How much more than expected the slot drew since a moment; 1 before any reading. */
export function powerFactor({ power = [] }: Situation, sinceMs: number): number {
  let [joules, expectedJoules] = [0, 0]
  for (const reading of power) {
    if (reading.atMs < sinceMs || !(reading.expectedW > 0)) continue
    joules += reading.powerW * reading.durationMs
    expectedJoules += reading.expectedW * reading.durationMs
  }
  return expectedJoules > 0 ? joules / expectedJoules : 1
}

/** Watts that may be drawn from now on so that the window is within the target at each horizon. */
function allowedW({ nowMs, leasePowerW, power = [] }: Situation): number {
  if (leasePowerW === undefined) return Number.POSITIVE_INFINITY
  const targetW = TARGET_SHARE * leasePowerW
  const last = power.at(-1)
  // Since the last reading it goes on as it was.
  const unread = last === undefined ? 0 : last.powerW * Math.max(0, nowMs - last.atMs)
  const allowed = POWER_HORIZONS_MS.map((horizonMs) => {
    const keptFromMs = nowMs - WINDOW_MS + horizonMs
    // Of the oldest reading, what lies in the window: whole, it would count a second that is over, and more with each frame.
    const keptMs = ({ atMs, durationMs }: PowerReading): number => Math.min(durationMs, Math.max(0, atMs - keptFromMs))
    const spent = power.reduce((sum, reading) => sum + reading.powerW * keptMs(reading), unread)
    return (targetW * WINDOW_MS - spent) / horizonMs
  })
  return Math.max(0, Math.min(targetW, ...allowed))
}

/** Whether the rung that runs was measured for long enough, and draws more than the lease. */
function isOverPower({ floor, changedMs }: BrakeState, { leasePowerW, power = [] }: Situation): boolean {
  if (leasePowerW === undefined) return false
  const since = power.filter(({ atMs, durationMs }) => atMs - durationMs >= Math.max(floor.sinceMs, changedMs))
  const ms = since.reduce((sum, { durationMs }) => sum + durationMs, 0)
  return ms >= MIN_POWER_MS && since.reduce((sum, r) => sum + r.powerW * r.durationMs, 0) / ms > leasePowerW
}

function nextFloor(state: BrakeState, situation: Situation): BrakeState['floor'] {
  const { nowMs, ladder, outcomes } = situation
  const { floor } = state
  const since = outcomes.filter(({ atMs }) => atMs >= floor.sinceMs)
  const isOver = isOverPower(state, situation)
  if (since.length < MIN_OUTCOMES && !isOver) return floor
  const missed = since.length === 0 ? 0 : since.filter(({ isMissed }) => isMissed).length / since.length
  if ((since.length >= MIN_OUTCOMES && missed > MISSED_SHARE) || isOver) {
    const powerW = ladder[state.rung]!.powerW
    const lighter = ladder.findIndex((rung, i) => i > state.rung && rung.powerW < powerW)
    if (lighter === -1) return floor
    // Falling again soon after a release means that the release was wrong: wait longer before the next.
    const holdMs = floor.sinceMs === 0 ? FIRST_HOLD_MS : Math.min(MAX_HOLD_MS, floor.holdMs * 2)
    return { rung: lighter, sinceMs: nowMs, holdMs }
  }
  const isHeldLongEnough = nowMs - floor.sinceMs >= floor.holdMs
  if (floor.rung > 0 && missed < MISSED_SHARE_GOOD && isHeldLongEnough)
    return { rung: floor.rung - 1, sinceMs: nowMs, holdMs: floor.holdMs }
  return floor
}

/** Where a slot starts with a new plan. */
export function initialState(ladder: readonly Rung[], nowMs: number): BrakeState {
  const floor = { rung: 0, sinceMs: 0, holdMs: FIRST_HOLD_MS }
  return { rung: 0, alpha255: ladder[0]!.configuration.alpha255, changedMs: nowMs, floor }
}

/**
 * The local brake: stay on the planned rung with an alpha as near to the plan as the lease allows; below that fall down
 * the ladder. Tightens at once, releases a little at a time.
 *
 * @param isNewPlan Take the best fitting place at once, also upwards.
 * @returns The state for the next frame.
 */
export function brake(state: BrakeState, situation: Situation, { isNewPlan = false } = {}): BrakeState {
  const { nowMs, ladder, leaseBps, leasePowerW } = situation
  const floor = nextFloor(state, situation)
  const moveTo = ({ rung, alpha255 }: Position): BrakeState =>
    rung === state.rung && alpha255 === state.alpha255
      ? { ...state, floor }
      : { rung, alpha255, changedMs: nowMs, floor }
  const places = placesOf(situation)
  const isOpen = ({ position }: Place): boolean => position.rung >= floor.rung
  if (leaseBps === undefined && leasePowerW === undefined) return moveTo(places.find(isOpen)!.position)

  const factor = Math.max(contentFactor(situation, 0), contentFactor(situation, nowMs - SCENE_MS))
  const wattFactor = Math.max(powerFactor(situation, 0), powerFactor(situation, nowMs - POWER_HORIZONS_MS[0]!))
  const [leftBps, leftW] = [allowedBps(situation), allowedW(situation)]
  /** Shares of what is allowed that a place takes. Worked out where asked: there are hundreds of places, before every frame. */
  const rateOf = ({ bps }: Place): number => shareOf(factor * bps, leftBps)
  const powerOf = ({ position }: Place): number => shareOf(wattFactor * ladder[position.rung]!.powerW, leftW)
  const scarcerOf = (place: Place): number => Math.max(rateOf(place), powerOf(place))
  const least = (): Place => places.filter(isOpen).reduce((a, b) => (scarcerOf(b) < scarcerOf(a) ? b : a))
  const placeWithin = (share: { rate: number; power: number }): Position =>
    (places.find((place) => isOpen(place) && rateOf(place) <= share.rate && powerOf(place) <= share.power) ?? least())
      .position

  if (isNewPlan) return moveTo(placeWithin({ rate: 1, power: 1 }))
  const at = places.findIndex(
    (place) => isOpen(place) && place.position.rung === state.rung && place.position.alpha255 === state.alpha255,
  )
  const current = places[at]
  if (current === undefined || scarcerOf(current) > 1) {
    // Only of what is exceeded is more asked than now: a rung is not left for its power because its rate is trimmed.
    const tightened = (load: number): number => (load > 1 ? TIGHTEN_SHARE / TARGET_SHARE : 1)
    const isLost = current === undefined
    return moveTo(
      placeWithin({
        rate: tightened(isLost ? Number.POSITIVE_INFINITY : rateOf(current)),
        power: tightened(isLost ? Number.POSITIVE_INFINITY : powerOf(current)),
      }),
    )
  }

  // Alpha changes nothing in the power of a rung.
  const roomFor = ({ position }: Place): number => (position.rung === state.rung ? 1 : RELEASE_SHARE / TARGET_SHARE)
  const roomy = places.findIndex(
    (place) => isOpen(place) && rateOf(place) <= RELEASE_SHARE / TARGET_SHARE && powerOf(place) <= roomFor(place),
  )
  if (roomy === -1 || roomy >= at || nowMs - state.changedMs < RELEASE_EVERY_MS) return moveTo(state)
  const goal = places[roomy]!.position
  if (goal.rung !== state.rung) {
    // With no more bits than now: what another graph does with this scene shows only once it runs.
    const above = places.filter(({ position }) => position.rung === goal.rung)
    return moveTo((above.find((place) => rateOf(place) <= rateOf(current)) ?? above.at(-1)!).position)
  }
  const steps = Math.max(MIN_RELEASE_STEPS, Math.ceil((at - roomy) / 2))
  return moveTo(places[Math.max(roomy, at - steps)]!.position)
}
