import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import { z } from 'zod'
import { elapsedMs, type TimeMark, timeMarkSchema } from '../time/time-mark.ts'
import type { FileCalls } from '../twin/atomic-file.ts'
import { StateFile } from '../twin/state-file.ts'
import type { Baseline, IdleBaseline } from './idle-baseline.ts'

const fileSchema = z.object({
  version: z.literal(1),
  board: z.string(),
  /** As the power manager named it when this was measured; empty: there is none. */
  powerMode: z.string(),
  source: z.string(),
  watts: z.number(),
  halfWidthW: z.number().min(0),
  seconds: z.number().positive(),
  measured: timeMarkSchema,
})

/** Idle power moves with the room, over hours; flash wears. */
const SAVE_EVERY_MS = 15 * 60_000

export interface IdleMemoryOptions {
  readonly dataDir: string
  /** Model of the board: a data folder may be carried to another. */
  readonly board: string
  readonly idle: IdleBaseline
  readonly mark: () => TimeMark
  readonly monotonicMs: () => number
  /** What is on disk is unreadable or cannot be written: the baseline is measured anew. */
  readonly onError: (error: StoreError) => void
  readonly calls?: FileCalls
}

/**
 * Keeps the idle power over restarts, with its age. A busy device may never be idle long enough after a restart to
 * measure it again. Of another board, another power mode, or of an age that nobody can know, it is forgotten; of another
 * sensor it does not count (`IdleBaseline.of`).
 */
export class IdleMemory {
  readonly #options: IdleMemoryOptions
  readonly #file: StateFile<z.infer<typeof fileSchema>>
  /** Mode under which the baseline was measured; undefined before anybody said. */
  #powerMode: string | undefined
  #saved: Baseline | undefined
  #savedMs: number

  constructor(options: IdleMemoryOptions) {
    const { dataDir, board, idle, mark, monotonicMs, onError, calls } = options
    this.#options = options
    this.#file = new StateFile(join(dataDir, 'idle.json'), 'idle power', fileSchema, calls)
    this.#savedMs = monotonicMs()
    const found = this.#file.load(onError)
    const ageMs = found && elapsedMs(found.measured, mark())
    if (found === undefined || ageMs === undefined || found.board !== board) return
    const { source, watts, halfWidthW, seconds, powerMode } = found
    this.#powerMode = powerMode
    this.#saved = { source, watts, halfWidthW, seconds, measuredAtMs: monotonicMs() - ageMs }
    idle.restore(this.#saved)
  }

  /** Once in a while. @param powerMode Undefined: not known, yet or at all. */
  keep(powerMode: string | undefined): void {
    const { idle, monotonicMs } = this.#options
    if (powerMode !== undefined && powerMode !== this.#powerMode) {
      if (this.#powerMode !== undefined && this.#powerMode !== '') idle.forget()
      this.#powerMode = powerMode
    }
    if (monotonicMs() - this.#savedMs >= SAVE_EVERY_MS || this.#saved === undefined) this.save()
  }

  save(): void {
    const { board, idle, mark, monotonicMs, onError } = this.#options
    const baseline = idle.current
    if (baseline === undefined || baseline === this.#saved) return
    this.#saved = baseline
    this.#savedMs = monotonicMs()
    const { source, watts, halfWidthW, seconds, measuredAtMs } = baseline
    const now = mark()
    const agoMs = Math.min(now.uptimeMs, Math.max(0, monotonicMs() - measuredAtMs))
    const measured = { ...now, uptimeMs: now.uptimeMs - agoMs, wallMs: now.wallMs - agoMs }
    try {
      this.#file.save({
        version: 1,
        board,
        powerMode: this.#powerMode ?? '',
        source,
        watts,
        halfWidthW,
        seconds,
        measured,
      })
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      onError(error)
    }
  }
}
