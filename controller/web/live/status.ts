import type { BackendChoice } from '@espalier/shared/runtime/page-backend'

/** What a live picture does now. */
export interface LiveStatus {
  /** `connecting`: no socket yet, or again; `waiting`: no frame that can be shown; `live`; `failed`: see `reason`. */
  readonly state: 'connecting' | 'waiting' | 'live' | 'failed'
  /** Why it waits or failed; in words, for people. */
  readonly reason?: string
  /** What decodes; absent before a decoder is open. */
  readonly backend?: 'webgpu' | 'wasm'
  /** The adapter, or why there is no WebGPU. */
  readonly backendReason?: string
  /** Of the frame that is shown. */
  readonly width?: number
  readonly height?: number
  readonly sequence?: number
  readonly alpha255?: number
  readonly frameKind?: 'key' | 'inter'
  /** Frames shown, and frames that came and were passed over because a newer one was there. */
  readonly shown: number
  readonly passedOver: number
  /** From the frame's arrival in this browser to its picture, waiting included. */
  readonly arrivalToPictureMs?: number
  /** Of that, what decoding took: entropy decoder and network. */
  readonly decodeMs?: number
  /**
   * From capture to picture, by the wall clocks of device and viewer; absent where they contradict each other. It means
   * what it says only where both follow time servers.
   */
  readonly captureToPictureMs?: number
}

/** Page to worker. */
export type LiveRequest =
  | {
      readonly kind: 'mount'
      readonly id: number
      readonly canvas: OffscreenCanvas
      readonly device: string
      readonly slot: string
      /** Of the controller, ending with a slash. */
      readonly origin: string
      /** Counts for the first picture of the worker. */
      readonly backend: BackendChoice
    }
  | { readonly kind: 'show'; readonly id: number; readonly isVisible: boolean }
  | { readonly kind: 'close'; readonly id: number }

/** Worker to page. */
export interface LiveReply {
  readonly id: number
  readonly status: LiveStatus
}
