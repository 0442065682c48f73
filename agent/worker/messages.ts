import type { Configuration } from '@espalier/shared/configuration'
import type { AdapterCosts } from '@espalier/shared/runtime/adapter-costs'
import type { Backend } from '@espalier/shared/runtime/session'
import type { FrameResult, QualitySample } from '../frame-result.ts'
import type { SourcePicture } from '../source/source.ts'

/** How fast a backend is with some threads, as a worker measured it with the family's first variant. */
export interface RuntimeSpeed {
  /** Multiply-accumulates a second, of all threads together. */
  readonly macsPerSecond: number
  /** Of a codec: what its adapter costs in each way. */
  readonly adapter?: AdapterCosts | undefined
}

/** Control to worker. The two are one program, so these are types and not parsers. */
export type WorkerRequest =
  | {
      readonly kind: 'start'
      readonly familyDir: string
      readonly backend: Backend
      readonly threads: number
      /** Measured by an earlier worker: this one need not measure again. */
      readonly speed?: RuntimeSpeed
    }
  | {
      /** Open what these variants need beside what runs, so that no frame waits for it. */
      readonly kind: 'prepare'
      readonly id: number
      readonly variants: readonly string[]
    }
  | {
      readonly kind: 'process'
      readonly id: number
      readonly picture: SourcePicture
      readonly configuration: Configuration
      /** Make a frame that stands alone. */
      readonly keyFrame: boolean
      /** Afterwards, compare the result with the picture, or with what the first variant says. */
      readonly measureQuality: boolean
    }

/** What the worker has used: microseconds of CPU since it started, by who pays for them, and memory now. */
export interface WorkerUsage {
  readonly slotUs: number
  /** Start-up, opening of variants, and quality samples. */
  readonly agentUs: number
  /** In RAM. */
  readonly rssBytes: number
}

export interface ProcessedFrame {
  readonly result: FrameResult
  readonly timings: { readonly resizeMs: number; readonly networkMs: number; readonly entropyMs: number }
}

/** Worker to control. */
export type WorkerReply =
  | {
      readonly kind: 'ready'
      readonly speed: RuntimeSpeed
      readonly usage: WorkerUsage
    }
  | { readonly kind: 'prepared'; readonly id: number; readonly usage: WorkerUsage }
  | ({ readonly kind: 'processed'; readonly id: number; readonly usage: WorkerUsage } & ProcessedFrame)
  /** Follows `processed` when quality was asked for; the worker is free again only now. */
  | {
      readonly kind: 'quality'
      readonly id: number
      readonly quality: QualitySample | undefined
      readonly usage: WorkerUsage
    }
  | { readonly kind: 'failed'; readonly id: number; readonly reason: string; readonly usage: WorkerUsage }
