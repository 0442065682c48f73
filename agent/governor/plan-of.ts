import type { Rung } from '@espalier/shared/messages/controller'
import type { Plan } from './governor.ts'

/**
 * What a desired state or a capsule says of a slot, as its governor takes it. The limits outlive the lease's time: a
 * device that hears nothing must not take more than it was given.
 */
export function planOf({
  ladder,
  lease,
}: {
  readonly ladder: readonly Rung[]
  readonly lease: { readonly rateBps?: number | undefined; readonly powerW?: number | undefined }
}): Plan {
  return { ladder, leaseBps: lease.rateBps, leasePowerW: lease.powerW }
}
