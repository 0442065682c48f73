export interface SinkFrame {
  /** Encoded frames since the slot started. */
  readonly sequence: number
  readonly capturedWallMs: number
  readonly stream: Uint8Array
}

/** Where streams go. */
export interface Sink {
  /** @returns Whether the frame was taken; a frame that was not is counted and lost, never kept for later. */
  send(frame: SinkFrame): Promise<boolean>
  close(): Promise<void>
}
