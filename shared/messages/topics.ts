import type { DeviceId } from '../ids.ts'
import { deviceIdSchema } from '../ids.ts'

export const TOPIC_ROOT = 'espalier/v1'
export const CONTROLLER_STATE_TOPIC = `${TOPIC_ROOT}/_controller/state`
/** What the controller subscribes to: every device's upward topics. */
export const ALL_UP_TOPICS = `${TOPIC_ROOT}/+/up/#`

/** The last levels of a topic from a device. */
export type UpKind = 'state' | 'birth' | 'reported' | 'telemetry' | 'event' | `ack/${string}`
/** The last levels of a topic to a device. */
export type DownKind = 'desired' | 'capsule' | `command/${string}`

export const upTopic = (device: DeviceId, kind: UpKind): string => `${TOPIC_ROOT}/${device}/up/${kind}`
export const downTopic = (device: DeviceId, kind: DownKind): string => `${TOPIC_ROOT}/${device}/down/${kind}`

/** Take an upward topic apart; undefined if it is not one. */
export function parseUpTopic(topic: string): { device: DeviceId; kind: string } | undefined {
  const match = /^espalier\/v1\/([^/]+)\/up\/(.+)$/.exec(topic)
  const device = deviceIdSchema.safeParse(match?.[1])
  return match === null || !device.success ? undefined : { device: device.data, kind: match[2]! }
}
