import type { Plan } from './governor.ts'

/**
 * What a desired state or a capsule says of a slot, as its governor takes it. The limits outlive the lease's time: a
 * device that hears nothing must not take more than it was given.
 */
export function planOf({
  ladder,
  figures,
  lease,
}: Pick<Plan, 'ladder' | 'figures'> & {
  readonly lease: { readonly rateBps?: number | undefined; readonly powerW?: number | undefined }
}): Plan {
  return { ladder, figures, leaseBps: lease.rateBps, leasePowerW: lease.powerW }
}
