import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import type { ClockQuality } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import type { FileCalls } from '../twin/atomic-file.ts'
import { StateFile } from '../twin/state-file.ts'

const monthSchema = z.object({
  version: z.literal(1),
  /** UTC, e.g. `2026-11`; empty while no clock ever said. */
  month: z.string().regex(/^(\d{4}-\d{2})?$/),
  txBytes: z.number().min(0),
  rxBytes: z.number().min(0),
  selfJoules: z.number().min(0),
  /** Of both ways' bytes, what fetching versions of families took. */
  fetchBytes: z.number().min(0).default(0),
})
type Month = z.infer<typeof monthSchema>

const NO_MONTH: Month = { version: 1, month: '', txBytes: 0, rxBytes: 0, selfJoules: 0, fetchBytes: 0 }

/** A kill loses at most this much of the ledger, and flash is written 100 times a day. */
const SAVE_EVERY_MS = 15 * 60_000

/** What this agent itself cost since its start. */
export interface OwnCost {
  readonly txBytes: number
  readonly rxBytes: number
  readonly selfJoules: number
  /** Of `txBytes` and `rxBytes`, what fetching versions of families took; absent: nothing. */
  readonly fetchBytes?: number
}

const NOTHING: Required<OwnCost> = { txBytes: 0, rxBytes: 0, selfJoules: 0, fetchBytes: 0 }

export interface LedgerView extends OwnCost {
  /** Sent and received in this calendar month, over all starts. */
  readonly monthBytes: number
  readonly monthJoules: number
  readonly monthFetchBytes: number
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
  readonly #file: StateFile<Month>
  /** Of the month before this start. */
  #base: Month
  /** Of this start, what was booked to earlier months. */
  #offset: Required<OwnCost> = NOTHING
  #now: Required<OwnCost> = NOTHING
  #savedMs: number

  constructor(options: LedgerOptions) {
    this.#options = options
    this.#file = new StateFile(join(options.dataDir, 'ledger.json'), 'ledger', monthSchema, options.calls)
    this.#base = this.#file.load(options.onError) ?? NO_MONTH
    this.#savedMs = options.monotonicMs()
  }

  /** @param cost Counts up since the start. */
  note(cost: OwnCost): void {
    const month = this.#month()
    if (month !== this.#base.month && this.#base.month !== '') {
      this.#offset = this.#now
      this.#base = { ...this.#base, ...NOTHING }
    }
    this.#base = { ...this.#base, month }
    this.#now = { ...NOTHING, ...cost }
    if (this.#options.monotonicMs() - this.#savedMs >= SAVE_EVERY_MS) this.save()
  }

  view(): LedgerView {
    const { txBytes, rxBytes, selfJoules, fetchBytes } = this.#sum()
    return { ...this.#now, monthBytes: txBytes + rxBytes, monthJoules: selfJoules, monthFetchBytes: fetchBytes }
  }

  /** Write the month down, e.g. before the end. */
  save(): void {
    this.#savedMs = this.#options.monotonicMs()
    try {
      this.#file.save(this.#sum())
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      this.#options.onError(error)
    }
  }

  #sum(): Month {
    const { version, month, txBytes, rxBytes, selfJoules, fetchBytes } = this.#base
    return {
      version,
      month,
      txBytes: txBytes + this.#now.txBytes - this.#offset.txBytes,
      rxBytes: rxBytes + this.#now.rxBytes - this.#offset.rxBytes,
      selfJoules: selfJoules + this.#now.selfJoules - this.#offset.selfJoules,
      fetchBytes: fetchBytes + this.#now.fetchBytes - this.#offset.fetchBytes,
    }
  }

  /** The calendar's month; the last known one while the clock says nothing, or goes back. */
  #month(): string {
    const { clk, wallMs } = this.#options
    if (clk() === 'none') return this.#base.month
    const month = new Date(wallMs()).toISOString().slice(0, 7)
    return clk() === 'ntp' || month > this.#base.month ? month : this.#base.month
  }
}
