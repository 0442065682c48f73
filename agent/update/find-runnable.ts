import { describeError, IntegrityError } from '@espalier/shared/errors'
import type { Digest } from '@espalier/shared/ids'
import { isOfDisk } from '../store/download.ts'
import type { FamilyStore } from '../store/family-store.ts'
import type { UpdateState } from './update-state.ts'

export interface Runnable {
  readonly digest: Digest
  /** Why it is not the version that was committed last. */
  readonly damage?: string
}

/**
 * The version that a start can run: every blob of it was hashed a moment ago.
 *
 * @param installed Came with the software, and is the last resort.
 */
export async function findRunnable(
  { running, lastGood }: Pick<UpdateState, 'running' | 'lastGood'>,
  { store, installed }: { readonly store: Pick<FamilyStore, 'verify'>; readonly installed: Digest },
): Promise<Runnable> {
  let damage: string | undefined
  for (const digest of [running, lastGood]) {
    if (digest === undefined || digest === installed) break
    try {
      await store.verify(digest)
      return { digest, ...(damage === undefined ? {} : { damage }) }
    } catch (error) {
      if (!(error instanceof IntegrityError || isOfDisk(error))) throw error
      damage ??= describeError(error)
    }
  }
  return { digest: installed, ...(damage === undefined ? {} : { damage }) }
}
