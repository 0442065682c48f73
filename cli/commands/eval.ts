import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Evaluation, evaluate, listPictures } from '@espalier/forge/measure/evaluate'
import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import { type Command, InvalidArgumentError } from 'commander'
import { startProgress } from '../progress.ts'
import { familyOption, parseAlpha } from './codec.ts'

const parseAlphas = (text: string): number[] => text.split(',').map(parseAlpha)

function parseThreads(text: string): number {
  const threads = Number(text)
  if (!Number.isInteger(threads) || threads < 1) throw new InvalidArgumentError('Threads is a whole number from 1.')
  return threads
}

/** Run the evaluation with its progress shown. */
export async function evaluateFolder(
  folder: string,
  options: { alphas: readonly number[]; family: string; threads: number; variants?: readonly string[] },
): Promise<Evaluation> {
  const files = await listPictures(folder)
  const codec = await openFamilyCodec(options.family, { threads: options.threads })
  const progress = startProgress('evaluating')
  try {
    return await evaluate(codec, files, {
      variants: options.variants ?? codec.manifest.variants.map(({ id }) => id),
      alphas: options.alphas,
      onProgress: progress.update,
    })
  } finally {
    progress.stop()
    await codec.close()
  }
}

/** Draw an evaluation into a folder. */
export async function writePlots(folder: string, evaluation: Evaluation): Promise<void> {
  await mkdir(folder, { recursive: true })
  const { plotEvaluation } = await import('@espalier/forge/measure/plot')
  for (const [name, svg] of Object.entries(plotEvaluation(evaluation))) await writeFile(join(folder, name), svg)
}

function printTable({ images, points, baselines, bdRatePct }: Evaluation): void {
  const line = (name: string, setting: string, p: { bpp: number; psnrDb: number; msSsim: number }, rest = ''): string =>
    `${name.padEnd(9)} ${setting.padStart(6)} ${p.bpp.toFixed(4).padStart(8)} ${p.psnrDb.toFixed(2).padStart(6)} ${p.msSsim.toFixed(4).padStart(8)} ${rest}`
  const rows = [
    `${images} images`,
    'codec      alpha      bpp   PSNR  MS-SSIM  encode  decode ms',
    ...points.map((p) =>
      line(
        p.variant,
        p.alpha.toFixed(3),
        p,
        `${p.encodeMs.toFixed(0).padStart(7)} ${p.decodeMs.toFixed(0).padStart(7)}`,
      ),
    ),
    ...Object.entries(baselines).flatMap(([name, curve]) => curve.map((p) => line(name, '', p))),
    'BD-rate, %  '.padEnd(12) +
      Object.keys(Object.values(bdRatePct)[0] ?? {})
        .map((name) => name.padStart(9))
        .join(''),
    ...Object.entries(bdRatePct).map(
      ([variant, rates]) =>
        variant.padEnd(12) +
        Object.values(rates)
          .map((rate) => (rate === null ? '-' : rate.toFixed(1)).padStart(9))
          .join(''),
    ),
  ]
  process.stdout.write(`${rows.join('\n')}\n`)
}

async function run(
  folder: string,
  options: { alphas: number[]; json?: true; family: string; threads: number; variants?: string[]; plots?: string },
): Promise<void> {
  const evaluation = await evaluateFolder(folder, options)
  if (options.plots !== undefined) await writePlots(options.plots, evaluation)
  if (options.json) process.stdout.write(`${JSON.stringify(evaluation, undefined, 2)}\n`)
  else printTable(evaluation)
}

export const DEFAULT_ALPHAS = [0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1]

export function registerEvalCommand(program: Command): void {
  program
    .command('eval')
    .description('rate and distortion on a folder of pictures, against JPEG, WebP and AVIF, from real files')
    .argument('<folder>', 'pictures; sides of at least 176 pixels')
    .option('--alphas <list>', 'alphas, separated by commas', parseAlphas, DEFAULT_ALPHAS)
    .option('--threads <n>', 'WASM threads', parseThreads, 1)
    .option('--variants <list>', 'encoders, separated by commas; all unless told otherwise', (text: string) =>
      text.split(','),
    )
    .option('--plots <folder>', 'draw rate, quality and cost as SVG files into it')
    .option('--json', 'print one JSON document')
    .addOption(familyOption())
    .action(run)
}
