import { createHash } from 'node:crypto'
import type { StoreError } from '@espalier/shared/errors'
import { canonicalJson } from '@espalier/shared/manifest/manifest'
import { z } from 'zod'
import { type FileCalls, fileCalls } from './atomic-file.ts'
import { StateFile } from './state-file.ts'

const copySchema = z.object({ sequence: z.int().min(0), sha256: z.string(), state: z.unknown() })

const digestOf = (state: unknown): string => createHash('sha256').update(canonicalJson(state)).digest('hex')

/**
 * A state in two files that are written in turns, each with a checksum: a file that decays on a dying card costs the
 * last change and not everything. One write a change, as for a single file.
 */
export class PairedFile<State> {
  readonly #files: readonly [StateFile<unknown>, StateFile<unknown>]
  readonly #schema: z.ZodType<State>
  #sequence = 0

  /** @param path Without its ending: `<path>.a.json` and `<path>.b.json` are written. */
  constructor(path: string, what: string, schema: z.ZodType<State>, calls: FileCalls = fileCalls) {
    const file = (name: string) => new StateFile<unknown>(`${path}.${name}.json`, what, z.unknown(), calls)
    this.#files = [file('a'), file('b')]
    this.#schema = schema
  }

  /**
   * @param onDamage Told of each copy that is there and cannot be used.
   * @returns The newest that is whole; undefined without one.
   */
  load(onDamage: (error: StoreError) => void): State | undefined {
    const whole = this.#files.flatMap((file) => {
      const found = copySchema.safeParse(file.load(onDamage)).data
      if (found === undefined || digestOf(found.state) !== found.sha256) return []
      const state = this.#schema.safeParse(found.state)
      return state.success ? [{ sequence: found.sequence, state: state.data }] : []
    })
    const newest = whole.sort((a, b) => b.sequence - a.sequence)[0]
    this.#sequence = newest?.sequence ?? 0
    return newest?.state
  }

  /** @throws {StoreError} If it cannot be written; the old one stays. */
  save(state: State): void {
    const sequence = this.#sequence + 1
    this.#files[sequence % 2]!.save({ sequence, sha256: digestOf(state), state })
    this.#sequence = sequence
  }
}
