import { describeError } from '@espalier/shared/errors'
import type { Refusal } from './candidate.ts'
import { errorCodeOf } from './system-files.ts'

/** Not allowed and not now are different: the first is worth an operator's attention, the second passes. */
export function refuse(name: string, error: unknown): Refusal {
  const why = ['EACCES', 'EPERM'].includes(errorCodeOf(error)) ? 'unreadable' : 'unavailable'
  return { name, why, reason: describeError(error) }
}
