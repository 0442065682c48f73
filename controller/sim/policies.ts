import { buffer } from './policies/buffer.ts'
import { clairvoyant } from './policies/clairvoyant.ts'
import { alertLike, greedyEqualShare } from './policies/equal-share.ts'
import { ladder } from './policies/ladder.ts'
import { lyapunov } from './policies/lyapunov.ts'
import { makeOurs } from './policies/ours.ts'
import { staticBest, staticBestSites } from './policies/static-best.ts'
import type { MakePolicy } from './policy.ts'

/** By the name that `espalier sim --policy` takes. */
export const POLICIES: Readonly<Record<string, MakePolicy>> = {
  ours: makeOurs(),
  clairvoyant,
  'static-best': staticBest,
  'static-best-sites': staticBestSites,
  'equal-share': greedyEqualShare,
  'alert-like': alertLike,
  lyapunov,
  ladder,
  buffer,
}
