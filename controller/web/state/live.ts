import { signal } from '@preact/signals'
import type { FleetSummary } from '../../api/routes/fleet-schemas.ts'
import type { DeviceRow } from '../../overview/device-row.ts'
import { callApi } from './api.ts'

/** Whether what is shown is what is. */
export const connection = signal<'connecting' | 'live' | 'lost'>('connecting')
export const summary = signal<FleetSummary | undefined>(undefined)

export interface DeviceHappening {
  readonly device: string
  readonly what: 'state' | 'birth' | 'reported' | 'event' | 'ack'
  readonly detail?: unknown
}

/** Fields that changed; null where one is gone. */
export type RowChange = { readonly id: string } & { readonly [K in keyof DeviceRow]?: DeviceRow[K] | null }

interface Happenings {
  rows: readonly RowChange[]
  device: DeviceHappening
  plan: { devices: number; value: number; bound: number; gap: number }
  budget: { key: string }
  alarm: { kind: string; subject: string; message: string }
}

const listeners = new Map<keyof Happenings, Set<(data: never) => void>>()
let stream: string | undefined
/** By who asks. */
const wanted = new Map<object, readonly string[]>()
let sending: ReturnType<typeof setTimeout> | undefined
/** Who waits for the controller to know what is wanted. */
let waiting: (() => void)[] = []

/** @returns A function that ends it. */
export function listen<K extends keyof Happenings>(kind: K, listener: (data: Happenings[K]) => void): () => void {
  const all = listeners.get(kind) ?? new Set()
  listeners.set(kind, all)
  all.add(listener as (data: never) => void)
  return () => all.delete(listener as (data: never) => void)
}

function sendWanted(): void {
  clearTimeout(sending)
  // A list that scrolls asks many times a second; its last word is enough.
  const own = setTimeout(() => {
    const devices = [...new Set([...wanted.values()].flat())].slice(0, 500)
    if (stream === undefined) return
    // A stream that has ended is opened again by the browser, and is then told.
    const settle = (): void => {
      if (sending !== own) return
      sending = undefined
      for (const tell of waiting) tell()
      waiting = []
    }
    callApi(`fleet/events/${stream}`, { method: 'PUT', body: { devices } }).then(settle, settle)
  }, 150)
  sending = own
}

/** Wait until devices that are watched are heard, but no longer than `timeoutMs`: what they answer until then is missed. */
export function untilWatched(timeoutMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, timeoutMs)
    if (stream !== undefined && sending === undefined) resolve()
    else waiting.push(resolve)
  })
}

/** Hear of changes of these devices' rows, and what the devices say, until the returned function is called. */
export function watch(devices: readonly string[]): () => void {
  const owner = {}
  wanted.set(owner, devices)
  sendWanted()
  return () => {
    wanted.delete(owner)
    sendWanted()
  }
}

/** Open the stream of what changes. The browser opens it again whenever it breaks. */
export function startLive(): () => void {
  const source = new EventSource('/api/v1/fleet/events')
  source.addEventListener('open', () => {
    connection.value = 'live'
  })
  source.addEventListener('error', () => {
    connection.value = 'lost'
  })
  const on = (kind: string, handle: (data: never) => void) =>
    source.addEventListener(kind, (event) => handle(JSON.parse((event as MessageEvent<string>).data) as never))
  on('hello', (data: { stream: string }) => {
    stream = data.stream
    sendWanted()
  })
  on('summary', (data: FleetSummary) => {
    summary.value = data
  })
  for (const kind of ['rows', 'device', 'plan', 'budget', 'alarm'] as const)
    on(kind, (data: never) => {
      for (const listener of listeners.get(kind) ?? []) listener(data)
    })
  return () => source.close()
}
