import { describeError, StoreError } from '@espalier/shared/errors'
import type { z } from 'zod'
import { type FileCalls, fileCalls, writeAtomically } from './atomic-file.ts'

/** A JSON document of this agent on disk: the old or the new one whole, whatever happens. */
export class StateFile<State> {
  readonly #path: string
  readonly #what: string
  readonly #schema: z.ZodType<State>
  readonly #calls: FileCalls

  /** @param what In words, for errors: "twin", "ledger". */
  constructor(path: string, what: string, schema: z.ZodType<State>, calls: FileCalls = fileCalls) {
    this.#path = path
    this.#what = what
    this.#schema = schema
    this.#calls = calls
  }

  /**
   * @param onDamage Told when there is a file that cannot be used.
   * @returns Undefined without a usable file.
   */
  load(onDamage: (error: StoreError) => void): State | undefined {
    try {
      return this.#schema.parse(JSON.parse(new TextDecoder().decode(this.#calls.read(this.#path))))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT')
        onDamage(
          new StoreError(`Cannot read ${this.#what} "${this.#path}": ${describeError(cause)}`, {
            cause,
            retryable: false,
          }),
        )
      return undefined
    }
  }

  /** @throws {StoreError} If it cannot be written; the old one stays. */
  save(state: State): void {
    try {
      writeAtomically(this.#path, new TextEncoder().encode(JSON.stringify(state)), this.#calls)
    } catch (cause) {
      throw new StoreError(`Cannot write ${this.#what} "${this.#path}": ${describeError(cause)}`, {
        cause,
        retryable: true,
      })
    }
  }
}
