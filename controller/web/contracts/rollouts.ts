import type { z } from 'zod'
import type {
  RolloutView,
  rolloutListSchema,
  rolloutMembersSchema,
  rolloutPreviewSchema,
} from '../../api/rollout-schemas.ts'

export type { RolloutMember, RolloutSummary, RolloutView } from '../../api/rollout-schemas.ts'
export type { Comparison, MemberState, RolloutState } from '../../rollout/rollout.ts'
export type RolloutList = z.infer<typeof rolloutListSchema>
export type RolloutMembers = z.infer<typeof rolloutMembersSchema>
export type RolloutPreview = z.infer<typeof rolloutPreviewSchema>
export type RolloutAction = RolloutView['actions'][number]
export type WaveView = RolloutView['waveList'][number]
export type MemberCounts = RolloutView['counts']
