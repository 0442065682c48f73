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
