import { notFound } from './api-error.ts'

/** Devices, rollouts, rules: what is known by an id. */
export interface Known<T> {
  get(id: string): T | undefined
  list(): readonly T[]
}

/** @param what e.g. `device`. @throws {ApiError} 404, with ids that are known, if nothing has this one. */
export function findById<T extends { readonly id: string }>(what: string, id: string, known: Known<T>): T {
  const found = known.get(id)
  if (found === undefined)
    throw notFound(
      what,
      id,
      known.list().map((each) => each.id),
    )
  return found
}
