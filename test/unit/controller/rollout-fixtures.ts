import type { Candidate } from '@espalier/controller/rollout/candidate'
import {
  type Action,
  applyAction,
  decideRollout,
  orderOf,
  type Situation,
  type Step,
} from '@espalier/controller/rollout/decide-rollout'
import {
  type Comparison,
  type Member,
  type Rollout,
  rolloutSpecSchema,
  type SlotKey,
  slotKey,
} from '@espalier/controller/rollout/rollout'
import { deviceIdSchema, digestSchema, slotIdSchema } from '@espalier/shared/ids'
import type { z } from 'zod'

export const OLD = digestSchema.parse('a'.repeat(64))
export const NEW = digestSchema.parse('b'.repeat(64))

type MutableCandidate = { -readonly [K in keyof Candidate]: Candidate[K] }

export function makeCandidate(i: number, rest: Partial<Candidate> = {}): MutableCandidate {
  const site = `site-${i % 7}`
  const deviceClass = `class-${i % 3}`
  const device = deviceIdSchema.parse(`cam-${i}`)
  return {
    device,
    slot: slotIdSchema.parse('cam0'),
    labels: { device, site, class: deviceClass },
    site,
    deviceClass,
    isConnected: true,
    isMetered: false,
    timeZone: undefined,
    version: OLD,
    update: undefined,
    ...rest,
  }
}

/** Devices that do as they are ordered, in steps of a second, and a rollout that is decided over them. */
export class SimulatedRollout {
  readonly devices = new Map<SlotKey, MutableCandidate>()
  readonly members = new Map<SlotKey, Member>()
  readonly actions: string[] = []
  /** By key: what becomes of an update there, and how many seconds it takes. */
  readonly fates = new Map<SlotKey, 'rolled-back' | 'stuck'>()
  rollout: Rollout
  nowMs = Date.parse('2026-11-29T12:00:00Z')
  writes = 0
  comparisons: Comparison[] = []
  isMeasured = true

  constructor(count: number, spec: Partial<z.input<typeof rolloutSpecSchema>> = {}) {
    for (let i = 0; i < count; i++) {
      const candidate = makeCandidate(i)
      this.devices.set(slotKey(candidate), candidate)
    }
    const parsed = rolloutSpecSchema.parse({ family: 'toy', manifestDigest: NEW, soakS: 10, ...spec })
    this.rollout = {
      id: 'toy-1',
      spec: parsed,
      state: 'running',
      wave: -1,
      waves: parsed.wavesPct.map(() => ({ state: 'waiting', comparisons: [] })),
      reason: 'begins',
      createdMs: this.nowMs,
      createdBy: 'test',
      changedMs: this.nowMs,
    }
  }

  get situation(): Situation {
    const { nowMs, devices, comparisons } = this
    return {
      nowMs,
      candidates: devices,
      compare: () => comparisons,
      isMeasured: () => this.isMeasured,
      costsBefore: () => undefined,
    }
  }

  apply(steps: readonly Step[]): void {
    for (const step of steps) {
      if (step.kind === 'save-rollout') {
        this.rollout = step.rollout
        this.actions.push(...step.actions)
      } else if (step.kind === 'drop-member') this.members.delete(step.key)
      else this.members.set(slotKey(step.member), step.member)
      if (step.kind !== 'note-member') this.writes++
    }
  }

  act(action: Action): void {
    this.apply(applyAction(this.rollout, this.members, action, { nowMs: this.nowMs, reason: action }))
  }

  /** A device in contact takes one step of an update in a second. */
  #follow(key: SlotKey, device: MutableCandidate): void {
    const member = this.members.get(key)
    const order = member && orderOf(this.rollout, member)
    if (order === undefined || !device.isConnected) return
    if (order === device.version) {
      device.update = device.update?.manifestDigest === order ? device.update : undefined
      return
    }
    const known = device.update?.manifestDigest === order ? device.update : undefined
    if (known?.state === 'rolled-back') return
    const fate = order === NEW ? this.fates.get(key) : undefined
    const bytes = { attempt: 1, neededBytes: 100, fetchedBytes: 100, manifestDigest: order }
    if (known === undefined) device.update = { state: 'fetch', ...bytes, fetchedBytes: 0 }
    else if (fate === 'stuck') return
    else if (known.state === 'fetch') device.update = { state: 'trial', ...bytes }
    else if (fate === 'rolled-back')
      device.update = { state: 'rolled-back', ...bytes, reason: 'latency p95 2.1 of the card' }
    else {
      device.update = { state: 'committed', ...bytes }
      device.version = order
    }
  }

  run(seconds: number): this {
    for (let second = 0; second < seconds; second++) {
      this.nowMs += 1000
      for (const [key, device] of this.devices) this.#follow(key, device)
      this.apply(decideRollout(this.rollout, this.members, this.situation))
    }
    return this
  }

  runUntil(isIt: (rollout: Rollout) => boolean, atMostS = 600): this {
    for (let second = 0; second < atMostS && !isIt(this.rollout); second++) this.run(1)
    return this
  }

  in(...states: Member['state'][]): Member[] {
    return [...this.members.values()].filter(({ state }) => states.includes(state))
  }

  device(i: number): MutableCandidate {
    return this.devices.get(`cam-${i}/cam0` as SlotKey)!
  }
}
