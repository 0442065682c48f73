import type { Update } from '@espalier/shared/messages/device'

export type RolloutState = 'planned' | 'running' | 'paused' | 'stopped' | 'done' | 'rolling-back' | 'rolled-back'
export type RolloutAction = 'pause' | 'resume' | 'stop' | 'roll-back'
export type MemberState =
  | 'waiting'
  | 'held'
  | 'ordered'
  | 'updating'
  | 'succeeded'
  | 'failed'
  | 'withdrawn'
  | 'returning'
  | 'returned'
export type MemberCounts = { readonly total: number } & { readonly [S in MemberState]: number }

export interface RolloutSummary {
  readonly id: string
  readonly family: string
  readonly version?: string
  readonly manifestDigest: string
  readonly selector: string
  readonly state: RolloutState
  /** 1 is the first; 0 before it. */
  readonly wave: number
  readonly waves: number
  readonly reason: string
  readonly createdAt: string
  readonly createdBy: string
  readonly changedAt: string
  readonly counts: MemberCounts
}

/** The new version against the old. */
export interface Comparison {
  readonly metric: 'latencyP95' | 'joulesPerFrame' | 'bitsPerFrame'
  readonly method: string
  readonly newDevices: number
  readonly oldDevices: number
  /** Above 0 is worse. */
  readonly changePct?: number
  readonly tolerancePct: number
  readonly pValue?: number
  readonly isRegression: boolean
}

export interface WaveView {
  readonly wave: number
  readonly endPct: number
  readonly state: 'waiting' | 'running' | 'soaking' | 'passed' | 'failed'
  readonly startedAt?: string
  readonly soakEndsAt?: string
  readonly judgedAt?: string
  readonly counts: MemberCounts
  readonly comparisons: readonly Comparison[]
}

export interface RolloutView extends RolloutSummary {
  readonly spec: Readonly<Record<string, unknown>>
  readonly waveList: readonly WaveView[]
  readonly actions: readonly RolloutAction[]
}

export interface RolloutMember {
  readonly device: string
  readonly slot: string
  readonly site?: string
  readonly deviceClass?: string
  readonly wave: number
  readonly state: MemberState
  readonly reason?: string
  readonly update?: Update
}

export interface RolloutPreview {
  readonly total: number
  readonly waves: readonly {
    readonly wave: number
    readonly endPct: number
    readonly members: readonly {
      readonly device: string
      readonly slot: string
      readonly isConnected: boolean
      readonly held?: string
    }[]
  }[]
  readonly alreadyThere: number
  readonly conflicts: readonly string[]
}
