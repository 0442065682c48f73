import type { SimFleet } from './fleet.ts'
import type { World } from './world.ts'

/** What a device says of an epoch. */
export interface Reading {
  readonly option: number
  readonly latencyS: number
  readonly bitsPerFrame: number
  /** Above idle. */
  readonly joulesPerFrame: number
  /** Only of sampled frames. */
  readonly psnrDb: number | undefined
}

/** What can be known when an epoch is decided: all of it is of the epoch before. */
export interface View {
  readonly epoch: number
  /** By device; undefined where nothing came. */
  readonly readings: readonly (Reading | undefined)[]
  readonly isConnected: readonly boolean[]
  /** What each device was last told. */
  readonly planned: Uint8Array
  /** By site: what the uplink carried at most, and what was sent. */
  readonly capacityBps: Float64Array
  readonly loadBps: Float64Array
  readonly powerW: number
}

export interface Policy {
  /** An option for each device; those of devices that are not connected are not followed. */
  decide(view: View): Uint8Array
}

/** Only policies in hindsight look at the world. */
export type MakePolicy = (fleet: SimFleet, world: World) => Policy
