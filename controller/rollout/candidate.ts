import type { DeviceId, Digest, SlotId } from '@espalier/shared/ids'
import type { Update } from '@espalier/shared/messages/device'
import { versionOf } from '../families.ts'
import { type DeviceRecord, isConnected } from '../ingest/fleet.ts'
import type { Labels } from './selector.ts'

/** A slot that runs some version of a family, as far as a rollout asks. */
export interface Candidate {
  readonly device: DeviceId
  readonly slot: SlotId
  readonly labels: Labels
  readonly site: string
  readonly deviceClass: string
  readonly isConnected: boolean
  readonly isMetered: boolean
  readonly timeZone: string | undefined
  readonly version: Digest | undefined
  readonly update: Update | undefined
}

/** What every device has, whatever its own labels are. */
export const BUILT_IN_LABELS = ['device', 'site', 'class'] as const

const YES = new Set(['true', 'yes', '1'])

/** Labels that selectors see: those of the birth, and `device`, `site` and `class`, which no label can claim to be. */
export function labelsOf(device: DeviceRecord): Labels {
  const { birth } = device
  return {
    ...birth?.labels,
    device: device.id,
    ...(birth === undefined ? {} : { site: birth.site, class: birth.deviceClass }),
  }
}

/** The slots of a device that run a family. */
export function candidatesOf(device: DeviceRecord, family: string): Candidate[] {
  const { birth, reported } = device
  if (birth === undefined) return []
  return birth.slots
    .filter((slot) => slot.family === family)
    .map(({ slot }) => ({
      device: device.id,
      slot,
      labels: labelsOf(device),
      site: birth.site,
      deviceClass: birth.deviceClass,
      isConnected: isConnected(device),
      isMetered: YES.has(birth.labels.metered ?? ''),
      timeZone: birth.labels['time-zone'],
      version: versionOf(device, slot),
      update: reported?.slots.find((each) => each.slot === slot)?.update,
    }))
}
