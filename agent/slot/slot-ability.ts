import type { Configuration } from '@espalier/shared/configuration'
import type { Manifest } from '@espalier/shared/manifest/manifest'
import { describeRuntimes } from '../backends/describe-runtimes.ts'
import { isSameRuntime, type Runtime, type Runtimes, speedOf, type UsableRuntime } from '../backends/runtime.ts'
import type { Plan } from '../governor/governor.ts'
import type { PictureStream } from '../source/source.ts'
import type { RuntimeSpeed } from '../worker/messages.ts'
import { defaultPlan } from './default-plan.ts'
import { findRefusal } from './find-refusal.ts'

type Setup = Runtime & { readonly familyDir: string }

export interface SlotAbilityOptions {
  readonly stream: Pick<PictureStream, 'width' | 'height'>
  readonly frameRate: number
  /** RAM that a worker may have. */
  readonly maxWorkerBytes: number
  readonly measured: MeasuredFamily
}

/** What was found to work, and how fast it was, with the family in a folder. */
export interface MeasuredFamily {
  readonly runtimes: Runtimes
  readonly familyDir: string
}

/**
 * What one slot of this device can run. Another version of the family is taken to run on what the measured one does,
 * at the speeds that were found with that one, until it is measured itself: by the worker that runs it where it runs,
 * on every backend with the next start of the agent or the command `profile`.
 */
export class SlotAbility {
  readonly #options: Omit<SlotAbilityOptions, 'measured'>
  #measured: MeasuredFamily

  constructor({ measured, ...options }: SlotAbilityOptions) {
    this.#options = options
    this.#measured = measured
  }

  /** Measured again, or with another version. */
  renew(measured: MeasuredFamily): void {
    this.#measured = measured
  }

  /** The best of this device. */
  get runtime(): Runtime {
    return this.#measured.runtimes.usable[0]!
  }

  /** @returns Undefined: a worker with this family measures it. */
  speedOf(setup: Setup): RuntimeSpeed | undefined {
    return speedOf(this.#measured.runtimes, this.#measured.familyDir, setup)
  }

  /** Why this slot cannot run a ladder of a version, as a sentence; undefined if it can run all of it. */
  refusalOf(
    { ladder }: { readonly ladder: readonly { readonly configuration: Configuration }[] },
    manifest: Manifest,
  ): string | undefined {
    const { usable: runtimes } = this.#measured.runtimes
    const { maxWorkerBytes } = this.#options
    const configurations = ladder.map(({ configuration }) => configuration)
    return findRefusal(configurations, { manifest, runtimes, maxWorkerBytes })
  }

  /** @throws {ConfigError} As `defaultPlan`. */
  defaultPlan(manifest: Manifest): Plan {
    const { stream, ...options } = this.#options
    return defaultPlan(manifest, stream, { ...options, runtime: this.runtime })
  }

  /** As birth says it. @param running As its worker measured it. */
  describe(running: UsableRuntime & Setup): ReturnType<typeof describeRuntimes> & { readonly maxWorkerBytes: number } {
    const { runtimes, familyDir } = this.#measured
    const { maxWorkerBytes } = this.#options
    if (running.familyDir === familyDir) return { ...describeRuntimes(runtimes, running), maxWorkerBytes }
    const { speed } = running
    const usable = runtimes.usable.map((each) => (isSameRuntime(each, running) ? { ...each, speed } : each))
    return { ...describeRuntimes({ ...runtimes, usable }, running), maxWorkerBytes }
  }
}
