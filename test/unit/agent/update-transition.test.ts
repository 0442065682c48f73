import { type TransitionContext, transition, type UpdateEvent } from '@espalier/agent/update/transition'
import { initialUpdateState, isResting, PHASES, type UpdateState } from '@espalier/agent/update/update-state'
import { digestSchema } from '@espalier/shared/ids'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'

const digest = (letter: string) => digestSchema.parse(letter.repeat(64))
const [INSTALLED, NEW, OTHER] = [digest('0'), digest('a'), digest('b')]
const context: TransitionContext = { installed: INSTALLED, maxStarts: 3 }
const fresh = initialUpdateState(INSTALLED)

/** Through the table, event by event. */
function through(events: readonly UpdateEvent[], from: UpdateState = fresh) {
  let next = { state: from, steps: [] as ReturnType<typeof transition>['steps'] }
  for (const event of events) next = transition(next.state, event, context)
  return { ...next, kinds: next.steps.map(({ kind }) => kind) }
}

const ordered = (manifestDigest = NEW): UpdateEvent => ({ kind: 'ordered', order: { manifestDigest } })
const toTrial: UpdateEvent[] = [ordered(), { kind: 'fetched' }, { kind: 'verified' }, { kind: 'warmed' }]
const toCommitted: UpdateEvent[] = [...toTrial, { kind: 'passed', evidence: { latency: 1 } }]

describe('transition()', () => {
  test('goes from order to commitment one step at a time, and runs the old version until then', () => {
    expect(through([ordered()])).toMatchObject({ state: { phase: 'fetch', running: INSTALLED, attempt: 1 } })
    expect(through(toTrial.slice(0, 2)).kinds).toEqual(['verify'])
    expect(through(toTrial.slice(0, 3)).kinds).toEqual(['warm'])
    const trial = through(toTrial)
    expect(trial).toMatchObject({ kinds: ['try'], state: { phase: 'trial', running: INSTALLED } })
    const committed = through(toCommitted)
    expect(committed.state).toMatchObject({ phase: 'committed', running: NEW, lastGood: INSTALLED })
    expect(committed.kinds).toEqual(['adopt', 'tell'])
  })

  test.each([
    ['fetch', { kind: 'unfetchable', reason: 'no' }, 1, ['tell']],
    ['warm', { kind: 'unfit', reason: 'golden' }, 3, ['discard', 'tell']],
    ['trial', { kind: 'regressed', reason: 'slow', evidence: { p95: 2 } }, 4, ['giveBack', 'tell']],
    ['trial', { kind: 'failing', reason: 'died' }, 4, ['giveBack', 'tell']],
  ] as const)('rolls back from %s with the reason, and runs what ran', (_phase, event, steps, kinds) => {
    const { state, kinds: found } = through([...toTrial.slice(0, steps), event])
    expect(state).toMatchObject({ phase: 'rolled-back', running: INSTALLED, reason: event.reason })
    expect(found).toEqual(kinds)
  })

  test('fetches what the disk damaged again, but not for ever', () => {
    const corrupt: UpdateEvent = { kind: 'corrupt', reason: 'bits' }
    const again: UpdateEvent[] = [corrupt, { kind: 'fetched' }]
    expect(through([...toTrial.slice(0, 2), corrupt]).state).toMatchObject({ phase: 'fetch', repairs: 1 })
    expect(through([...toTrial.slice(0, 2), ...again, ...again, ...again, corrupt]).state).toMatchObject({
      phase: 'rolled-back',
    })
  })

  test('takes an update up again after a start, and gives it up after three that ended while it was warmed or tried', () => {
    const started: UpdateEvent = { kind: 'started' }
    for (const events of [toTrial.slice(0, 1), toTrial.slice(0, 2), toTrial.slice(0, 3), toTrial])
      expect(through([...events, started])).toMatchObject({
        state: { phase: 'fetch', running: INSTALLED },
        kinds: ['fetch'],
      })
    const tried = [...toTrial.slice(1), started]
    expect(through([ordered(), ...tried, ...tried, ...tried]).state).toMatchObject({
      phase: 'rolled-back',
      running: INSTALLED,
    })
  })

  test('does not try again what failed until something else was ordered in between', () => {
    const failed: UpdateEvent[] = [ordered(), { kind: 'unfetchable', reason: 'no' }]
    expect(through([...failed, ordered()])).toMatchObject({ state: { phase: 'rolled-back' }, steps: [] })
    expect(through([...failed, ordered(OTHER)]).state).toMatchObject({
      phase: 'fetch',
      target: { manifestDigest: OTHER },
    })
    expect(through([...failed, { kind: 'withdrawn' }, ordered()]).state).toMatchObject({ phase: 'fetch' })
  })

  test('lets a newer order supersede at any point, after undoing what was begun', () => {
    const undone = [[], [], ['discard'], ['giveBack']]
    for (const [i, undo] of undone.entries()) {
      const { state, kinds } = through([...toTrial.slice(0, i + 1), ordered(OTHER)])
      expect(state).toMatchObject({ phase: 'fetch', target: { manifestDigest: OTHER }, running: INSTALLED })
      expect(kinds).toEqual([...undo, 'tell', 'fetch'])
      expect(through([...toTrial.slice(0, i + 1), { kind: 'withdrawn' }]).kinds).toEqual([...undo, 'tell'])
    }
  })

  test('goes back to the version before when what runs keeps dying, and to the smallest variant when that does too', () => {
    const back = through([...toCommitted, { kind: 'failing', reason: 'died' }])
    expect(back.state).toMatchObject({ phase: 'rolled-back', running: INSTALLED, isSafe: false })
    expect(back.kinds).toEqual(['tell', 'activate'])
    const safe = through([{ kind: 'failing', reason: 'died' }], back.state)
    expect(safe.state).toMatchObject({ phase: 'safe', running: INSTALLED, isSafe: true })
    expect(safe.steps.at(-1)).toEqual({ kind: 'activate', digest: INSTALLED, isSafe: true })
    expect(through([{ kind: 'resume' }], safe.state).state).toMatchObject({ phase: 'idle', isSafe: false })
  })

  test('takes starts that die before they worked for a while as failures of what runs', () => {
    const starts = Array.from({ length: 3 }, (): UpdateEvent => ({ kind: 'started' }))
    expect(through([...toCommitted, ...starts]).state).toMatchObject({ phase: 'committed', starts: 3 })
    expect(through([...toCommitted, ...starts, { kind: 'started' }]).state).toMatchObject({ running: INSTALLED })
    expect(through([...toCommitted, ...starts, { kind: 'proven' }, { kind: 'started' }]).state).toMatchObject({
      running: NEW,
    })
  })

  test('fetches a committed version again that is damaged, and runs the one before meanwhile', () => {
    const { state, kinds } = through([...toCommitted, { kind: 'damaged', reason: 'bits' }])
    expect(state).toMatchObject({ phase: 'fetch', running: INSTALLED, target: { manifestDigest: NEW } })
    expect(kinds).toEqual(['tell', 'activate', 'tell', 'fetch'])
  })

  test('rolls back by command to the version before, once', () => {
    const back = through([...toCommitted, { kind: 'roll-back' }])
    expect(back.state).toMatchObject({ running: INSTALLED, phase: 'rolled-back' })
    expect(through([{ kind: 'roll-back' }], back.state)).toMatchObject({ state: back.state, steps: [] })
  })

  test('never runs a version that was not committed, whatever comes in whatever order', () => {
    const anyEvent: fc.Arbitrary<UpdateEvent> = fc.oneof(
      fc.constantFrom(NEW, OTHER).map(ordered),
      fc
        .constantFrom<UpdateEvent['kind']>(
          'started',
          'proven',
          'withdrawn',
          'fetched',
          'unfetchable',
          'verified',
          'corrupt',
          'warmed',
          'unfit',
          'regressed',
          'passed',
          'failing',
          'damaged',
          'roll-back',
          'pause',
          'resume',
        )
        .map((kind) => ({ kind, reason: 'why', evidence: {} }) as UpdateEvent),
    )
    fc.assert(
      fc.property(fc.array(anyEvent, { maxLength: 60 }), (events) => {
        const committed = new Set<string>([INSTALLED])
        let state = fresh
        for (const event of events) {
          const before = state
          const next = transition(state, event, context)
          state = next.state
          if (before.phase === 'trial' && event.kind === 'passed') committed.add(before.target!.manifestDigest)
          expect(committed).toContain(state.running)
          expect(PHASES).toContain(state.phase)
          // Whatever is under way has a step that will end it, begun now or before.
          const isBegun = next.steps.some(({ kind }) => ['fetch', 'verify', 'warm', 'try'].includes(kind))
          if (!isResting(state) && !isBegun) expect(state.phase).toBe(before.phase)
          if (isResting(state)) expect(isBegun).toBe(false)
        }
      }),
      { numRuns: 500 },
    )
  })
})
