import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describeError, StoreError } from '@espalier/shared/errors'
import { z } from 'zod'
import type { ClockQuality } from '../time/time-mark.ts'
import { type FileCalls, fileCalls, writeAtomically } from '../twin/atomic-file.ts'

const fileSchema = z.object({
  version: z.literal(1),
  /** UTC, e.g. `2026-11`; empty while no clock ever said. */
  month: z.string().regex(/^(\d{4}-\d{2})?$/),
  txBytes: z.number().min(0),
  rxBytes: z.number().min(0),
  selfJoules: z.number().min(0),
})
type Month = z.infer<typeof fileSchema>

/** A kill loses at most this much of the ledger, and flash is written 100 times a day. */
const SAVE_EVERY_MS = 15 * 60_000

/** What this agent itself cost since its start. */
export interface OwnCost {
  readonly txBytes: number
  readonly rxBytes: number
  readonly selfJoules: number
}

export interface LedgerView extends OwnCost {
  /** Sent and received in this calendar month, over all starts. */
  readonly monthBytes: number
  readonly monthJoules: number
}

export interface LedgerOptions {
  readonly dataDir: string
  readonly monotonicMs: () => number
  readonly wallMs: () => number
  readonly clk: () => ClockQuality
  /** The ledger on disk is unreadable or cannot be written: counting goes on in memory. */
  readonly onError: (error: StoreError) => void
  readonly calls?: FileCalls
}

/** Books what the agent itself takes of link and battery, by calendar month, over restarts, with few writes. */
export class Ledger {
  readonly #options: LedgerOptions
  readonly #path: string
  /** Of the month before this start. */
  #base: Month
  /** Of this start, what was booked to earlier months. */
  #offset: OwnCost = { txBytes: 0, rxBytes: 0, selfJoules: 0 }
  #now: OwnCost = { txBytes: 0, rxBytes: 0, selfJoules: 0 }
  #savedMs: number

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#path = join(options.dataDir, 'ledger.json')
    this.#base = this.#load()
    this.#savedMs = options.monotonicMs()
  }

  /** @param cost Counts up since the start. */
  note(cost: OwnCost): void {
    const month = this.#month()
    if (month !== this.#base.month && this.#base.month !== '') {
      this.#offset = this.#now
      this.#base = { ...this.#base, txBytes: 0, rxBytes: 0, selfJoules: 0 }
    }
    this.#base = { ...this.#base, month }
    this.#now = cost
    if (this.#options.monotonicMs() - this.#savedMs >= SAVE_EVERY_MS) this.save()
  }

  view(): LedgerView {
    const { txBytes, rxBytes, selfJoules } = this.#sum()
    return { ...this.#now, monthBytes: txBytes + rxBytes, monthJoules: selfJoules }
  }

  /** Write the month down, e.g. before the end. */
  save(): void {
    this.#savedMs = this.#options.monotonicMs()
    try {
      const body = new TextEncoder().encode(JSON.stringify(this.#sum()))
      writeAtomically(this.#path, body, this.#options.calls ?? fileCalls)
    } catch (cause) {
      this.#options.onError(
        new StoreError(`Cannot write ledger "${this.#path}": ${describeError(cause)}`, { cause, retryable: true }),
      )
    }
  }

  #sum(): Month {
    const { version, month, txBytes, rxBytes, selfJoules } = this.#base
    return {
      version,
      month,
      txBytes: txBytes + this.#now.txBytes - this.#offset.txBytes,
      rxBytes: rxBytes + this.#now.rxBytes - this.#offset.rxBytes,
      selfJoules: selfJoules + this.#now.selfJoules - this.#offset.selfJoules,
    }
  }

  /** The calendar's month; the last known one while the clock says nothing, or goes back. */
  #month(): string {
    const { clk, wallMs } = this.#options
    if (clk() === 'none') return this.#base.month
    const month = new Date(wallMs()).toISOString().slice(0, 7)
    return clk() === 'ntp' || month > this.#base.month ? month : this.#base.month
  }

  #load(): Month {
    try {
      return fileSchema.parse(JSON.parse(readFileSync(this.#path, 'utf8')))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
        this.#options.onError(
          new StoreError(`Cannot read ledger "${this.#path}": ${describeError(cause)}`, { cause, retryable: false }),
        )
      return { version: 1, month: '', txBytes: 0, rxBytes: 0, selfJoules: 0 }
    }
  }
}
