import { fresh, type UpdateEvent } from '@espalier/agent/update/transition'
import type { UpdateState } from '@espalier/agent/update/update-state'
import { type Executors, Updater } from '@espalier/agent/update/updater'
import { StoreError } from '@espalier/shared/errors'
import { digestSchema } from '@espalier/shared/ids'
import { expect, test } from 'vitest'

const digest = (letter: string) => digestSchema.parse(letter.repeat(64))
const context = { installed: digest('0'), maxStarts: 5 }
const order = (letter: string): UpdateEvent => ({ kind: 'ordered', order: { manifestDigest: digest(letter) } })

function setUp(changes: Partial<Executors> = {}, save: (state: UpdateState) => void = () => undefined) {
  const log: string[] = []
  const step = (kind: string, event: UpdateEvent) => async (): Promise<UpdateEvent> => {
    log.push(kind)
    return event
  }
  const updater = new Updater({
    file: {
      save(state) {
        save(state)
        log.push(`saved ${state.phase}`)
      },
    },
    state: fresh(context),
    context,
    onUnwritten: () => void log.push('unwritten'),
    sleep: async () => undefined,
    executors: {
      fetch: step('fetch', { kind: 'fetched' }),
      verify: step('verify', { kind: 'verified' }),
      warm: step('warm', { kind: 'warmed' }),
      try: step('try', { kind: 'passed', evidence: {} }),
      adopt: () => void log.push('adopt'),
      giveBack: () => void log.push('giveBack'),
      discard: () => void log.push('discard'),
      activate: () => void log.push('activate'),
      tell: () => undefined,
      ...changes,
    },
  })
  return { updater, log }
}

async function until(isIt: () => boolean): Promise<void> {
  while (!isIt()) await new Promise((done) => setImmediate(done))
}

test('Updater has each state on disk before its step is taken', async () => {
  const { updater, log } = setUp()
  updater.dispatch(order('a'))
  await until(() => updater.state.phase === 'committed')
  await updater.settled()
  expect(log).toEqual([
    'saved fetch',
    'fetch',
    'saved verify',
    'verify',
    'saved warm',
    'warm',
    'saved trial',
    'try',
    'saved committed',
    'adopt',
  ])
})

test('Updater waits with what moves forward until the disk takes it, and not with what goes back', async () => {
  let failures = 3
  const { updater, log } = setUp({}, ({ phase }) => {
    if (phase === 'committed' && failures-- > 0) throw new StoreError('full', { retryable: true })
  })
  updater.dispatch(order('a'))
  await until(() => updater.state.phase === 'committed')
  await updater.settled()
  expect(log.slice(-5)).toEqual(['unwritten', 'unwritten', 'unwritten', 'saved committed', 'adopt'])

  const broken = setUp({}, ({ phase }) => {
    if (phase === 'safe') throw new StoreError('full', { retryable: true })
  })
  broken.updater.dispatch({ kind: 'failing', reason: 'died' })
  await broken.updater.settled()
  expect(broken.log).toEqual(['unwritten', 'activate'])
})

test('Updater ends a step that a newer order supersedes before it begins the next, and does not hear what it says then', async () => {
  let hung = 0
  const { updater, log } = setUp({
    fetch: ({ order: { manifestDigest } }, signal) =>
      new Promise((resolve) => {
        log.push(`fetch ${manifestDigest[0]}`)
        if (manifestDigest.startsWith('b')) return
        hung++
        signal.addEventListener('abort', () => {
          log.push('aborted')
          resolve({ kind: 'fetched' })
        })
      }),
  })
  updater.dispatch(order('a'))
  await until(() => hung === 1)
  updater.dispatch(order('b'))
  await until(() => log.includes('fetch b'))
  expect(log.filter((entry) => !entry.startsWith('saved'))).toEqual(['fetch a', 'aborted', 'fetch b'])
  expect(updater.state).toMatchObject({ phase: 'fetch', target: { manifestDigest: digest('b') } })
})

test('Updater turns a step that fails in a way nobody thought of into a roll-back', async () => {
  const { updater } = setUp({ warm: async () => Promise.reject(new Error('surprise')) })
  updater.dispatch(order('a'))
  await until(() => updater.state.phase === 'rolled-back')
  expect(updater.state.reason).toBe('surprise')
})
