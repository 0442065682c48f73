import type { ApiFailure } from '../state/api.ts'
import { Note } from './note.tsx'

/** A failure, or that this controller has no such thing. */
export function Missing({ failure, what }: { failure: ApiFailure | undefined; what: string }) {
  if (failure === undefined) return null
  return failure.status === 404 ? (
    <Note>This controller has no {what}.</Note>
  ) : (
    <Note kind="lost">{failure.message}</Note>
  )
}
