import { describeError, ModelError, TransportError } from '@espalier/shared/errors'
import { describeRuntime, isSameRuntime, type Runtime } from '../backends/runtime.ts'
import type { Candidate, WorkerSupervisor } from '../supervisor/worker-supervisor.ts'

interface Move {
  readonly runtime: Runtime
  candidate: Candidate | undefined
  opened: readonly string[]
  work: Promise<void> | undefined
  failure: unknown
}

/**
 * A slot on its way to another backend or number of threads: those belong to a process, so a second one is made ready
 * beside the one that has the frames, and takes over between two frames.
 */
export class RuntimeChange {
  readonly #supervisor: Pick<WorkerSupervisor, 'prepare'>
  #move: Move | undefined

  constructor(supervisor: Pick<WorkerSupervisor, 'prepare'>) {
    this.#supervisor = supervisor
  }

  /**
   * Go one step further. Call between two frames, again and again.
   *
   * @param options.isPatient Wait for what is begun: nothing runs that would be kept waiting.
   * @returns The variants that the worker which has taken over has open; undefined: not yet.
   * @throws {ModelError} If the backend or a variant cannot be used; the old worker goes on.
   */
  async step(
    runtime: Runtime,
    variants: readonly string[],
    { isPatient }: { readonly isPatient: boolean },
  ): Promise<readonly string[] | undefined> {
    if (this.#move !== undefined && !isSameRuntime(this.#move.runtime, runtime)) this.abandon()
    this.#move ??= { runtime, candidate: undefined, opened: [], work: undefined, failure: undefined }
    const move = this.#move
    const isOpen = (): boolean => move.candidate !== undefined && variants.every((each) => move.opened.includes(each))
    if (move.work === undefined && move.failure === undefined && !isOpen()) move.work = this.#advance(move, variants)
    if (isPatient) await move.work
    if (move.failure !== undefined) {
      this.abandon()
      throw new ModelError(`Cannot run on ${describeRuntime(runtime)}: ${describeError(move.failure)}`)
    }
    // A newer plan may have asked for others while these were opened.
    if (move.work !== undefined || !isOpen()) return undefined
    try {
      void move.candidate!.takeOver().release()
    } catch (error) {
      if (!(error instanceof TransportError)) throw error
      // It died after it was ready: another one is made.
      this.abandon()
      return undefined
    }
    this.#move = undefined
    return move.opened
  }

  /** Stay with what runs. */
  abandon(): void {
    const move = this.#move
    this.#move = undefined
    void move?.work?.then(() => move.candidate?.discard())
    if (move?.work === undefined) void move?.candidate?.discard()
  }

  async #advance(move: Move, variants: readonly string[]): Promise<void> {
    const { backend, threads } = move.runtime
    try {
      if (move.candidate === undefined) move.candidate = await this.#supervisor.prepare(variants, { backend, threads })
      else await move.candidate.openVariants(variants)
      move.opened = variants
    } catch (error) {
      move.failure = error
    }
    move.work = undefined
  }
}
