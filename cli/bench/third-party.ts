import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ModelError } from '@espalier/shared/errors'
import { runForge } from './run-forge.ts'

/** What a pass made of a model that others trained, or why it would not. */
export interface ThirdPartyResult {
  readonly model: string
  readonly pass: string
  readonly outcome: 'done' | 'refused'
  /** In a sentence. */
  readonly text: string
  readonly out?: string
}

interface PassReport {
  readonly before: { readonly macs: number; readonly bytes: number }
  readonly after: { readonly macs: number; readonly bytes: number }
  readonly verification?: { readonly outputs: { readonly relative: number } }
}

const PASSES: Readonly<Record<string, readonly string[]>> = {
  fold: ['fold'],
  'collapse, TLC': ['collapse', '--method', 'tlc', '--count', '2'],
  'collapse, EASIER': ['collapse', '--method', 'easier', '--count', '2', '--data'],
  skip: ['skip', '--tolerance', '2', '--tries', '2', '--held-out-limit', '200', '--data'],
  prune: ['prune', '--ratio', '0.2'],
  tokens: ['tokens', '--per-block', '4'],
  'adapter, of a copy with other weights': ['adapter', '--rank', '4', '--from'],
  'quantise, static': ['quantise', '--mode', 'static', '--data'],
  'quantise, dynamic': ['quantise', '--mode', 'dynamic'],
  'quantise, float16': ['quantise', '--mode', 'fp16'],
}

/** The models of data/models, with the shape that a file leaves open and pictures of its kind. */
const MODELS = [
  { file: 'cifar10_resnet_4b.onnx', shape: [], pictures: 'cifar10', prefix: 'train_00' },
  {
    file: 'ch_ppocr_mobile_v2.0_cls_infer.onnx',
    shape: ['--shape', 'x=1x3x48x192'],
    pictures: 'kodak',
    prefix: 'kodim',
  },
] // prettier-ignore

function describe({ before, after, verification }: PassReport): string {
  const change = (from: number, to: number): string => `${(((to - from) / from) * 100).toFixed(1)} %`
  const exact = verification === undefined ? '' : `, outputs within ${verification.outputs.relative.toExponential(0)}`
  return `MACs ${change(before.macs, after.macs)}, bytes ${change(before.bytes, after.bytes)}${exact}`
}

/** A model of the same form with other weights: the smallest tenth of them zero. */
async function makeTuned(model: string, out: string, shape: readonly string[]): Promise<string> {
  const path = `${out}-tuned.onnx`
  const made = await runForge(['prune', model, '-o', path, ...shape, '--unstructured', '--ratio', '0.1'])
  if (made.outcome === 'refused') throw new ModelError(made.reason)
  return path
}

/** Every pass on every third-party model. @param folder Where results are written. */
export async function runThirdParty(dataDir: string, folder: string): Promise<ThirdPartyResult[]> {
  const results: ThirdPartyResult[] = []
  for (const { file, shape, pictures, prefix } of MODELS) {
    const model = join(dataDir, 'models', file)
    if (!existsSync(model)) {
      process.stderr.write(`SKIPPED "${file}": absent\n`)
      continue
    }
    for (const [pass, words] of Object.entries(PASSES)) {
      const out = join(folder, `${file}-${pass.replaceAll(/\W+/g, '-')}.onnx`)
      const data = words.includes('--data') ? [join(dataDir, pictures), '--calibration', prefix, '--limit', '24'] : []
      const tuned = words.at(-1) === '--from' ? [await makeTuned(model, out, shape)] : []
      const heldOut = words[0] === 'skip' ? ['--held-out', pictures === 'cifar10' ? 'val' : prefix] : []
      const [verb, ...flags] = words
      const found = await runForge<PassReport>([
        verb!,
        model,
        '-o',
        out,
        ...shape,
        ...flags,
        ...tuned,
        ...data,
        ...heldOut,
      ])
      process.stderr.write(`${file}: ${pass}: ${found.outcome}\n`)
      results.push(
        found.outcome === 'done'
          ? { model: file, pass, outcome: 'done', text: describe(found.report), out }
          : { model: file, pass, outcome: 'refused', text: found.reason.replaceAll(dataDir, '..') },
      )
    }
  }
  return results
}

const CHECKER = `
import sys, onnx
for path in sys.argv[1:]:
    try:
        # Shape inference, which the full check adds, does not know sparse weights.
        onnx.checker.check_model(path, full_check=not onnx.load(path).graph.sparse_initializer)
        print("ok")
    except Exception as error:
        print(str(error).replace("\\n", " ")[:300])
`

/** ONNX's own checker over files: a verdict for each. Undefined where there is no Python with the package onnx. */
export async function checkOnnx(paths: readonly string[]): Promise<string[] | undefined> {
  const found = await promisify(execFile)('python3', ['-c', CHECKER, ...paths], { maxBuffer: 2 ** 26 }).catch(
    (error: Error) => error,
  )
  if (!(found instanceof Error)) return found.stdout.trim().split('\n')
  process.stderr.write(`SKIPPED the ONNX checker: no python3 with the package onnx (${found.message.slice(0, 200)})\n`)
  return undefined
}
