import type { FrameKind } from '@espalier/shared/codec/container'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import type { Configuration } from '@espalier/shared/configuration'

/** Control to worker. The two are one program, so these are types and not parsers. */
export type WorkerRequest =
  | {
      readonly kind: 'start'
      readonly familyDir: string
      readonly threads: number
      /** Measured by an earlier worker of this slot: a restart need not measure again. */
      readonly macsPerSecond?: number
    }
  | {
      readonly kind: 'encode'
      readonly id: number
      readonly picture: Picture
      readonly configuration: Configuration
      /** Make a frame that stands alone. */
      readonly keyFrame: boolean
      /** Decode the stream again afterwards and compare it with the picture. */
      readonly measureQuality: boolean
    }

/** Microseconds of CPU since the worker started, by who pays for them. */
export interface WorkerCpu {
  readonly slotUs: number
  /** Start-up and quality samples. */
  readonly agentUs: number
}

export interface EncodedFrame {
  readonly stream: Uint8Array
  readonly frameKind: FrameKind
  readonly timings: { readonly resizeMs: number; readonly networkMs: number; readonly entropyMs: number }
}

/** Worker to control. */
export type WorkerReply =
  | {
      readonly kind: 'ready'
      /** Multiply-accumulates a second of the real encoder, for one thread. */
      readonly macsPerSecond: number
      readonly cpu: WorkerCpu
    }
  | ({ readonly kind: 'encoded'; readonly id: number; readonly cpu: WorkerCpu } & EncodedFrame)
  /** Follows `encoded` when quality was asked for; the worker is free again only now. */
  | { readonly kind: 'quality'; readonly id: number; readonly psnrDb: number | undefined; readonly cpu: WorkerCpu }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string; readonly cpu: WorkerCpu }
