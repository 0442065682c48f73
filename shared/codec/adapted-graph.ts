import { ModelError } from '../errors.ts'
import type { GraphEntry } from '../manifest/codec-manifest.ts'
import type { CodecFamily } from '../manifest/open-family.ts'
import type { AdapterCosts } from '../runtime/adapter-costs.ts'
import { bakeWeights } from '../runtime/bake-weights.ts'
import { openSession } from '../runtime/open-session.ts'
import type { Backend, Session, TensorData } from '../runtime/session.ts'
import { Weights, type WeightTensor } from './weights.ts'

const NO_WEIGHTS: ReadonlyMap<string, WeightTensor> = new Map()
const MEASURED_RUNS = 6
/** Backends and ways of running differ by rounding: so much of the largest value. */
const ROUNDING = 1e-3

export interface AdaptedGraphOptions {
  readonly backend: Backend
  readonly threads: number
  /** For messages. */
  readonly name: string
}

const bestOf = (timesMs: readonly number[]): number => Math.max(1e-3, Math.min(...timesMs))

/** As a share of the largest value; NaN where a value is. */
function largestDifference(a: TensorData, b: TensorData): number {
  let [peak, difference] = [1e-6, 0]
  for (let i = 0; i < a.data.length; i++) {
    peak = Math.max(peak, Math.abs(a.data[i]!))
    difference = Math.max(difference, Math.abs(a.data[i]! - b.data[i]!))
  }
  return difference / peak
}

/**
 * A graph with the family's adapter at any alpha. A new alpha is fed to the session that is there; where the backend
 * gains from constants, `settle` makes a second session for an alpha that stays.
 */
export class AdaptedGraph {
  readonly #graph: Uint8Array
  readonly #entry: GraphEntry
  readonly #weights: Weights
  readonly #options: AdaptedGraphOptions
  readonly #session: Session
  #baked: { readonly alpha255: number; readonly session: Session } | undefined
  /** Frames in a row with the newest alpha. */
  #dwell = { alpha255: -1, frames: 0 }
  #canBake = true

  private constructor(
    parts: { graph: Uint8Array; entry: GraphEntry; weights: Weights; session: Session },
    options: AdaptedGraphOptions,
  ) {
    this.#graph = parts.graph
    this.#entry = parts.entry
    this.#weights = parts.weights
    this.#session = parts.session
    this.#options = options
  }

  /**
   * @throws {IntegrityError} If a blob is not what the manifest says.
   * @throws {ModelError} If the backend refuses the graph.
   */
  static async open(family: CodecFamily, entry: GraphEntry, options: AdaptedGraphOptions): Promise<AdaptedGraph> {
    const [graph, weights] = await Promise.all([family.readBlob(entry), Weights.load(family, entry)])
    const { input, output } = entry
    const session = await openSession(graph, { ...options, input, output, weightInputs: Object.keys(entry.weights) })
    return new AdaptedGraph({ graph, entry, weights, session }, options)
  }

  /** Merge the weights for the next frame: no part of the network's time. */
  adapt(alpha255: number): void {
    if (this.#baked?.alpha255 !== alpha255) this.#weights.at(alpha255)
  }

  run(input: TensorData, alpha255: number): Promise<TensorData> {
    this.#dwell = { alpha255, frames: this.#dwell.alpha255 === alpha255 ? this.#dwell.frames + 1 : 1 }
    if (this.#baked?.alpha255 === alpha255) return this.#baked.session.run(input, NO_WEIGHTS)
    return this.#session.run(input, this.#weights.at(alpha255))
  }

  /**
   * Between two frames: bake the weights of an alpha that has stayed for so many. Where the backend refuses, feeding
   * goes on.
   */
  async settle(bakeAfterFrames: number): Promise<void> {
    const { alpha255, frames } = this.#dwell
    if (!this.#canBake || frames < bakeAfterFrames || this.#baked?.alpha255 === alpha255) return
    try {
      const session = await this.#openBaked(alpha255)
      await this.#baked?.session.close()
      this.#baked = { alpha255, session }
    } catch (error) {
      if (!(error instanceof ModelError)) throw error
      this.#canBake = false
    }
  }

  /**
   * Time both ways with one input, best of a few runs each, because interruptions only add.
   *
   * @throws {ModelError} If they give different outputs: the backend is not to be trusted.
   */
  async measure(input: TensorData): Promise<AdapterCosts> {
    const [alpha255, other255] = [128, 127]
    const timed = async <Result>(work: () => Result | Promise<Result>): Promise<readonly [number, Result]> => {
      const startedMs = performance.now()
      const result = await work()
      return [performance.now() - startedMs, result]
    }
    this.#weights.at(alpha255)
    const [mergeMs] = await timed(() => this.#weights.at(other255))
    const feeds = this.#weights.at(alpha255)
    const [bakeMs, baked] = await timed(() => this.#openBaked(alpha255))
    try {
      const [inputs, constants]: [number[], number[]] = [[], []]
      for (let run = 0; run < MEASURED_RUNS; run++) {
        const [inputsMs, fed] = await timed(() => this.#session.run(input, feeds))
        const [bakedMs, constant] = await timed(() => baked.run(input, NO_WEIGHTS))
        inputs.push(inputsMs)
        constants.push(bakedMs)
        const difference = largestDifference(fed, constant)
        // NaN is no smaller than anything, so ask the other way round.
        if (!(difference <= ROUNDING))
          throw new ModelError(
            `Cannot use "${this.#options.name}" on ${this.#options.backend}: weights as inputs and as constants differ by ${difference}, expected at most ${ROUNDING}`,
          )
      }
      return { inputsMs: bestOf(inputs), bakedMs: bestOf(constants), mergeMs, bakeMs }
    } finally {
      await baked.close()
    }
  }

  async close(): Promise<void> {
    await this.#session.close()
    await this.#baked?.session.close()
    this.#baked = undefined
  }

  #openBaked(alpha255: number): Promise<Session> {
    const { input, output } = this.#entry
    const graph = bakeWeights(this.#graph, this.#weights.at(alpha255))
    return openSession(graph, { ...this.#options, input, output, weightInputs: [] })
  }
}
