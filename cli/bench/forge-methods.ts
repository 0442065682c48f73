import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** One method on one network: what went in, what surgery left, and what training healed. Files of forge/training/runs/classifiers. */
export interface Method {
  readonly name: string
  readonly network: 'resnet' | 'mobilenet' | 'vit'
  readonly before: string
  /** As the method left it, not trained on. */
  readonly surgery?: string
  /** After fine-tuning; absent where the method needs none. */
  readonly healed?: string
  /** Words of `espalier forge` that make `surgery` of `before`, for methods without gradients. */
  readonly words?: readonly string[]
  readonly paper: string
}

const NOT_TRAINED_ON = '-'

/** In the order of the talk. The first row of a network is what the others are measured against. */
export const METHODS: readonly Method[] = [
  {
    name: 'LayerFold: fold',
    network: 'resnet',
    before: 'resnet.onnx',
    words: ['fold'],
    paper: 'exact fusion; no figures of its own could be reached',
  },
  {
    name: 'Layer Folding',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-layer-folding/folded.onnx',
    healed: 'resnet-layer-folding.onnx',
    paper: 'ResNet-18 88.76 % of 91.77 %, MACs +5 %, latency +25 %',
  },
  {
    name: 'TLC',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-tlc/2-cut.onnx',
    healed: 'resnet-tlc.onnx',
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'EASIER',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-easier/2-cut.onnx',
    healed: 'resnet-easier.onnx',
    paper: 'ResNet-18 92.10 % of 92.47 % at 8 of 17',
  },
  {
    name: 'LaCoOT',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-lacoot-skip-cut.onnx',
    healed: 'resnet-lacoot-skip-again.onnx',
    paper: 'ResNet-18 90.99 % of 91.77 %, MACs -54 %, latency -40 %, no fine-tuning',
  },
  {
    name: 'LaCoOT without its regulariser',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-skip-cut.onnx',
    healed: 'resnet-skip.onnx',
    paper: 'the distance is then no better than chance',
  },
  {
    name: 'channels by L2, 30 %',
    network: 'resnet',
    before: 'resnet.onnx',
    surgery: 'resnet-prune/cut.onnx',
    healed: 'resnet-prune.onnx',
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'smallest 50 % of weights zero',
    network: 'resnet',
    before: 'resnet.onnx',
    words: ['prune', '--unstructured', '--ratio', '0.5'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'smallest 80 % of weights zero',
    network: 'resnet',
    before: 'resnet.onnx',
    words: ['prune', '--unstructured', '--ratio', '0.8'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'int8, static',
    network: 'resnet',
    before: 'resnet.onnx',
    words: ['quantise', '--mode', 'static', '--calibration', 'train_00', '--limit', '256'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'float16 weights',
    network: 'resnet',
    before: 'resnet.onnx',
    words: ['quantise', '--mode', 'fp16'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'LayerFold: fold',
    network: 'mobilenet',
    before: 'mobilenet.onnx',
    words: ['fold'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'channels by L2, 30 %',
    network: 'mobilenet',
    before: 'mobilenet.onnx',
    surgery: 'mobilenet-prune/cut.onnx',
    healed: 'mobilenet-prune.onnx',
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'int8, static',
    network: 'mobilenet',
    before: 'mobilenet.onnx',
    words: ['quantise', '--mode', 'static', '--calibration', 'train_00', '--limit', '256'],
    paper: NOT_TRAINED_ON,
  },
  {
    name: 'ToMe, 5 tokens a block',
    network: 'vit',
    before: 'vit.onnx',
    words: ['tokens', '--method', 'tome', '--per-block', '5'],
    paper: 'ViT-S/16 79.30 % of 81.41 % with r = 13, 1.6 times as fast',
  },
  {
    name: 'FOLDER, half of the tokens',
    network: 'vit',
    before: 'vit.onnx',
    words: ['tokens', '--method', 'folder', '--total', '32'],
    paper: 'LLaVA-1.5 55.5 of 55.0 at half; the gain is in what reads the tokens',
  },
  {
    name: 'int8, dynamic',
    network: 'vit',
    before: 'vit.onnx',
    words: ['quantise', '--mode', 'dynamic'],
    paper: NOT_TRAINED_ON,
  },
]

/** Files that the methods need and that are not there. */
export function missingModels(folder: string): string[] {
  const wanted = METHODS.flatMap(({ before, surgery, healed }) => [before, surgery, healed])
  return [...new Set(wanted)].filter((file) => file !== undefined && !existsSync(join(folder, file))) as string[]
}
