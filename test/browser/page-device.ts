import type { Backend } from '@espalier/shared/runtime/session'
import { openDevice } from './device.ts'

/** What the test calls in the page. */
const calls = {
  /** Open the device that the other calls use. @returns The backend that opened, and why not another. */
  async open(backend: Backend): Promise<void> {
    Object.assign(calls, await openDevice(readServed, { backend, threads: 1 }))
  },
}

async function readServed(name: string): Promise<Uint8Array> {
  const response = await fetch(`/family/${name}`)
  if (!response.ok) throw new Error(`HTTP ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}

Object.assign(globalThis, { espalierDevice: calls })
