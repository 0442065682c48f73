import { randomUUID } from 'node:crypto'
import type { FastifyReply } from 'fastify'
import type { EventBus } from '../events.ts'
import type { DeviceRow } from '../overview/device-row.ts'
import { openEventStream } from './event-stream.ts'
import type { FleetSummary } from './routes/fleet-schemas.ts'

/** What changed is sent this often: a page of people needs no more, and a fleet of thousands says a thousand things meanwhile. */
const TICK_MS = 1000
/** Events of a device itself, for those that a page watches. */
const FORWARDED: ReadonlySet<string> = new Set(['event', 'ack', 'reported', 'state', 'birth'])

export interface FleetStreams {
  /** Answer with a stream of what changes: `hello`, `summary`, `rows`, and `device`, `plan`, `budget`, `alarm` as they come. */
  open(reply: FastifyReply, closing: AbortSignal): void
  /** Of which devices a stream should send rows. @returns False if there is no such stream. */
  watch(stream: string, devices: readonly string[]): boolean
}

/** Only the fields that differ; a field that is gone is null. */
function differenceOf(before: DeviceRow | undefined, after: DeviceRow): Record<string, unknown> | undefined {
  if (before === undefined) return after
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof DeviceRow>
  const changed = [...keys].filter((key) => before[key] !== after[key])
  if (changed.length === 0) return undefined
  return { id: after.id, ...Object.fromEntries(changed.map((key) => [key, after[key] ?? null])) }
}

export function fleetStreams(options: {
  readonly events: EventBus
  readonly summary: () => FleetSummary
  readonly row: (device: string) => DeviceRow | undefined
}): FleetStreams {
  const watched = new Map<string, Map<string, DeviceRow | undefined>>()
  return {
    open(reply, closing) {
      const id = randomUUID()
      const rows = new Map<string, DeviceRow | undefined>()
      watched.set(id, rows)
      const stream = openEventStream(reply, closing, () => {
        watched.delete(id)
        clearInterval(timer)
        unsubscribe()
      })
      stream.send('hello', { stream: id })
      let sent = ''
      const tick = (): void => {
        const summary = options.summary()
        const { atMs, ...content } = summary
        const text = JSON.stringify(content)
        if (text !== sent) stream.send('summary', summary)
        sent = text
        const changed = [...rows].flatMap(([device, before]) => {
          const after = options.row(device)
          rows.set(device, after)
          return after === undefined ? [] : (differenceOf(before, after) ?? [])
        })
        if (changed.length > 0) stream.send('rows', changed)
      }
      const timer = setInterval(tick, TICK_MS)
      const unsubscribe = options.events.subscribe(({ kind, data }) => {
        if (kind === 'device') {
          if (rows.has(data.device) && FORWARDED.has(data.what)) stream.send(kind, data)
        } else if (kind === 'plan') {
          const { devices, ...figures } = data
          stream.send(kind, { ...figures, devices: devices.length })
        } else stream.send(kind, data)
      })
    },
    watch(stream, devices) {
      const rows = watched.get(stream)
      if (rows === undefined) return false
      for (const device of [...rows.keys()]) if (!devices.includes(device)) rows.delete(device)
      for (const device of devices) if (!rows.has(device)) rows.set(device, options.row(device))
      return true
    },
  }
}
