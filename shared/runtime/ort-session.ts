import type * as Ort from 'onnxruntime-web'
import type { WeightTensor } from '../codec/weights.ts'
import { describeError, ModelError } from '../errors.ts'
import type { GraphOptions, Session, TensorData } from './session.ts'

/** Both onnxruntime packages have these of onnxruntime-common, each its own copy. */
export type OrtRuntime = Pick<typeof Ort, 'InferenceSession' | 'Tensor'>

/** Keeps a set of weights as tensors, so that they are made when they change and not for each frame. */
export interface WeightFeed {
  feed(weights: ReadonlyMap<string, WeightTensor>): Record<string, Ort.Tensor>
  close(): void
}

/** Weights as tensors in ordinary memory. */
export function cpuFeed({ Tensor }: Pick<OrtRuntime, 'Tensor'>): WeightFeed {
  let fed: { weights: ReadonlyMap<string, WeightTensor>; tensors: Record<string, Ort.Tensor> } | undefined
  return {
    feed(weights) {
      if (fed?.weights !== weights) {
        const entries = [...weights].map(
          ([name, { values, shape }]) => [name, new Tensor('float32', values, shape)] as const,
        )
        fed = { weights, tensors: Object.fromEntries(entries) }
      }
      return fed.tensors
    },
    close() {
      fed = undefined
    },
  }
}

/**
 * Open a graph on any onnxruntime.
 *
 * @param openFeed Called once the session is there, because a GPU is only known then.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openOrtSession(
  runtime: OrtRuntime,
  graph: Uint8Array,
  options: GraphOptions,
  sessionOptions: Ort.InferenceSession.SessionOptions,
  openFeed: () => WeightFeed | Promise<WeightFeed> = () => cpuFeed(runtime),
): Promise<Session> {
  const session = await runtime.InferenceSession.create(graph, {
    graphOptimizationLevel: 'all',
    ...(options.externalData === undefined ? {} : { externalData: options.externalData }),
    ...sessionOptions,
  }).catch((cause: unknown) => {
    throw new ModelError(`Cannot load graph "${options.name}": ${describeError(cause)}`, { cause })
  })
  const expected = [options.input, ...options.weightInputs].sort()
  const found = [...session.inputNames].sort()
  if (expected.join() !== found.join()) {
    await session.release()
    throw new ModelError(`Cannot load graph "${options.name}": it takes "${found}", expected "${expected}"`)
  }
  const weightFeed = await openFeed()
  return {
    async run({ type, data, dims }, weights) {
      const input = new runtime.Tensor(type, data, dims)
      const outputs = await session.run({ [options.input]: input, ...weightFeed.feed(weights) })
      return outputs[options.output] as TensorData
    },
    async close() {
      weightFeed.close()
      await session.release()
    },
  }
}
