import type { GraphSpec } from './build-graph.ts'
import { randomTensor } from './build-graph.ts'

export const TOY_CLASSES = 5
export const TOY_SIDE = 16

/** A small classifier of [1, 3, 16, 16]: convolution, rectifier, mean, matrix. @param seed Of the last matrix only. */
export function toyClassifier(seed = 1, weightName = 'stem.weight'): GraphSpec {
  return {
    inputs: { picture: [1, 3, TOY_SIDE, TOY_SIDE] },
    outputs: ['logits'],
    weights: {
      [weightName]: randomTensor([8, 3, 3, 3], 1),
      'stem.bias': randomTensor([8], 2),
      'head.weight': randomTensor([TOY_CLASSES, 128], 10 + seed),
      'head.bias': randomTensor([TOY_CLASSES], 3),
    },
    nodes: [
      {
        op: 'Conv',
        inputs: ['picture', weightName, 'stem.bias'],
        outputs: ['a'],
        attributes: { strides: [4, 4], pads: [1, 1, 1, 1], kernel_shape: [3, 3] },
      },
      { op: 'Relu', inputs: ['a'], outputs: ['b'] },
      { op: 'Flatten', inputs: ['b'], outputs: ['c'] },
      { op: 'Gemm', inputs: ['c', 'head.weight', 'head.bias'], outputs: ['logits'], attributes: { transB: 1 } },
    ],
  }
}
