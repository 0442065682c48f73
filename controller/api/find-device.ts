import type { DeviceRecord, Fleet } from '../ingest/fleet.ts'
import { notFound } from './api-error.ts'

/** @throws {ApiError} 404, with names that are known, if no device has the id. */
export function findDevice(fleet: Pick<Fleet, 'get' | 'list'>, id: string): DeviceRecord {
  const device = fleet.get(id)
  if (device === undefined)
    throw notFound(
      'device',
      id,
      fleet.list().map((each) => each.id),
    )
  return device
}
