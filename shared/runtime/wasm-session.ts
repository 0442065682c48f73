import * as ort from 'onnxruntime-web'
import type { WeightTensor } from '../codec/weights.ts'
import { describeError, ModelError } from '../errors.ts'

/** A graph ready to run. Calls must not overlap: the runtime computes on the calling thread. */
export interface Session {
  run(input: ort.Tensor, weights: ReadonlyMap<string, WeightTensor>): Promise<ort.Tensor>
  close(): Promise<void>
}

/**
 * Open a graph on onnxruntime-web's WASM backend.
 *
 * @param threads Takes effect with the first session of the process only: the runtime starts its threads once.
 * @throws {ModelError} If the runtime refuses the graph, or the graph's inputs are not those of the manifest.
 */
export async function openWasmSession(
  graph: Uint8Array,
  options: { input: string; output: string; weightInputs: readonly string[]; threads: number; name: string },
): Promise<Session> {
  ort.env.wasm.numThreads = options.threads
  ort.env.logLevel = 'error'
  const session = await ort.InferenceSession.create(graph, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
  }).catch((cause: unknown) => {
    throw new ModelError(`Cannot load graph "${options.name}": ${describeError(cause)}`, { cause })
  })
  const expected = [options.input, ...options.weightInputs].sort()
  const found = [...session.inputNames].sort()
  if (expected.join() !== found.join()) {
    await session.release()
    throw new ModelError(`Cannot load graph "${options.name}": it takes "${found}", expected "${expected}"`)
  }

  // Tensors are made once for each set of weights, not for each frame.
  let fed: { weights: ReadonlyMap<string, WeightTensor>; tensors: Record<string, ort.Tensor> } | undefined
  const toTensors = (weights: ReadonlyMap<string, WeightTensor>): Record<string, ort.Tensor> => {
    if (fed?.weights !== weights) {
      const entries = [...weights].map(
        ([name, { values, shape }]) => [name, new ort.Tensor('float32', values, shape)] as const,
      )
      fed = { weights, tensors: Object.fromEntries(entries) }
    }
    return fed.tensors
  }
  return {
    async run(input, weights) {
      const outputs = await session.run({ [options.input]: input, ...toTensors(weights) })
      return outputs[options.output]!
    },
    close: () => session.release(),
  }
}
