import type { Clock } from '@espalier/shared/clock'
import type { SlotId } from '@espalier/shared/ids'
import type { Task } from '@espalier/shared/manifest/manifest'
import type { DeviceEvent } from '@espalier/shared/messages/device'
import type { FrameResult } from '../frame-result.ts'

export interface SinkFrame {
  /** Frames since the slot started. */
  readonly sequence: number
  readonly capturedWallMs: number
  readonly result: FrameResult
}

/** Where results go. */
export interface Sink {
  /** @returns Whether the frame was taken; a frame that was not is counted and lost, never kept for later. */
  send(frame: SinkFrame): Promise<boolean>
  close(): Promise<void>
}

export interface SinkPlace {
  /** Of the slot's family: what there is to send. */
  readonly task: Task
  readonly controllerUrl: string
  readonly device: string
  readonly slot: SlotId
  readonly random: () => number
  readonly clock: Clock
  readonly onEvent: (event: DeviceEvent) => void
  /** Bytes that went to the uplink. */
  readonly onSent?: (bytes: number) => void
}
