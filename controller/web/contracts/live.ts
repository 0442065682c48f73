/** What the decoder in the page tells and takes: `live/mount-live.ts`, loaded when a picture is looked at. */
export interface LiveStatus {
  readonly state: 'connecting' | 'waiting' | 'live' | 'failed'
  readonly reason?: string
  readonly backend?: 'webgpu' | 'wasm'
  readonly decodeMs?: number
  readonly captureToPictureMs?: number
  readonly shown: number
  readonly passedOver: number
}

export interface LiveModule {
  mountLive(
    canvas: HTMLCanvasElement,
    options: { readonly device: string; readonly slot: string; readonly onStatus: (status: LiveStatus) => void },
  ): { close(): void }
}
