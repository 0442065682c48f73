import { availableParallelism } from 'node:os'
import { readBoard } from '@espalier/agent/meter/read-machine'
import { type Profile, profile } from '@espalier/forge/measure/profile'
import type { ProfilePoint, ProfileSubject } from '@espalier/forge/measure/profile-messages'
import { writeCards } from '@espalier/forge/measure/write-cards'
import { ConfigError } from '@espalier/shared/errors'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import { openFamily } from '@espalier/shared/manifest/open-family'
import type { Backend } from '@espalier/shared/runtime/session'
import { type Command, InvalidArgumentError } from 'commander'
import { openEnergyReader } from '../energy-reader.ts'
import { startProgress } from '../progress.ts'
import { parseCount } from './forge-pass.ts'

const BACKENDS: readonly Backend[] = ['wasm', 'native']

function parseBackends(text: string): Backend[] {
  const found = text.split(',')
  for (const each of found)
    if (!BACKENDS.includes(each as Backend))
      throw new InvalidArgumentError(`Expected some of ${BACKENDS.join(', ')}; a browser is profiled in its own page.`)
  return found as Backend[]
}

function parseCounts(text: string): number[] {
  return text.split(',').map(parseCount)
}

function parseSizes(text: string): [number, number][] {
  return text.split(',').map((size) => {
    const found = /^(\d+)x(\d+)$/.exec(size)
    if (found === null) throw new InvalidArgumentError('A size reads 512x288.')
    return [Number(found[1]), Number(found[2])]
  })
}

function parseAlphas(text: string): number[] {
  return text.split(',').map((alpha) => {
    const value = Number(alpha)
    if (!(value >= 0 && value <= 1)) throw new InvalidArgumentError('An alpha lies from 0 to 1.')
    return value
  })
}

interface Options {
  readonly backends: Backend[]
  readonly threads: number[]
  readonly sizes: [number, number][]
  readonly alphas: number[]
  readonly variants?: string
  readonly rounds: number
  readonly runs: number
  readonly write?: true
  readonly json?: true
}

const HEADER = ['configuration', 'p50 ms', 'p95 ms', 'J/frame above idle', 'MB']

function toRow(each: Profile): string[] {
  const { value, interval } = each.joulesPerFrame
  const size = `${each.width}x${each.height}`
  return [
    `${each.variant}/a${String(each.alpha255).padStart(3, '0')}/${size}/${each.backend}${each.threads}`,
    each.latencyMs.p50.toFixed(1),
    each.latencyMs.p95.toFixed(1),
    `${value.toPrecision(2)} (${interval[0].toPrecision(2)} to ${interval[1].toPrecision(2)})`,
    (each.rssBytes / 1e6).toFixed(0),
  ]
}

function printTable(profiles: readonly Profile[]): void {
  const rows = [HEADER, ...profiles.map(toRow)]
  const widths = HEADER.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  for (const row of rows)
    process.stdout.write(
      `${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ')}\n`,
    )
  const source = profiles[0]?.joulesPerFrame.source
  if (source === 'model:utilisation')
    process.stdout.write('Joules are modelled from CPU time: no energy counter of this machine can be read.\n')
}

async function runProfile(familyDir: string, options: Options): Promise<void> {
  const { manifest } = await openFamily(familyDir)
  const wanted = options.variants?.split(',')
  const known = manifest.variants.map(({ id }) => id)
  for (const id of wanted ?? [])
    if (!known.includes(id))
      throw new ConfigError(`Cannot profile variant "${id}": "${manifest.family}" has ${known.join(', ')}`)
  const subjects = (wanted ?? known).flatMap((variant) =>
    options.backends.flatMap((backend) =>
      options.threads.map((threads): ProfileSubject => ({ variant, backend, threads })),
    ),
  )
  const points =
    manifest.task === 'classification'
      ? [{ ...sizeOf(manifest.input), alpha255: 0 }]
      : options.sizes.flatMap(([width, height]) =>
          options.alphas.map((alpha): ProfilePoint => ({ width, height, alpha255: Math.round(alpha * 255) })),
        )
  const energy = await openEnergyReader()
  const progress = startProgress('profiling')
  const profiles = await profile({
    familyDir,
    subjects,
    points,
    energy,
    rounds: options.rounds,
    runs: options.runs,
    onProgress: progress.update,
    onAbsent: ({ backend, threads }, reason) =>
      process.stderr.write(`SKIPPED ${backend} with ${threads} threads: ${reason}\n`),
  }).finally(() => progress.stop())
  if (options.write) await writeCards(familyDir, profiles, readBoard('/').deviceClass)
  if (options.json) process.stdout.write(`${JSON.stringify(profiles, undefined, 2)}\n`)
  else printTable(profiles)
}

function sizeOf(input: Parameters<typeof inputSize>[0]): { width: number; height: number } {
  const { width, height } = inputSize(input)
  return { width, height }
}

/** `espalier forge profile`. */
export function registerForgeProfile(forge: Command): void {
  const cores = availableParallelism()
  forge
    .command('profile')
    .description('measure a family on this machine: latency, joules and memory of every configuration')
    .argument('<family>', 'folder of the family')
    .option('--backends <list>', 'wasm, native', parseBackends, ['wasm', 'native'] as Backend[])
    .option('--threads <list>', 'of the runtime', parseCounts, [...new Set([1, Math.min(cores, 4)])])
    .option('--sizes <list>', 'of an image codec', parseSizes, [[512, 288]] as [number, number][])
    .option('--alphas <list>', 'of an image codec', parseAlphas, [0.5])
    .option('--variants <list>', 'only these')
    .option('--rounds <n>', 'visits to each, in an order drawn anew', parseCount, 3)
    .option('--runs <n>', 'timed in a visit, after half a second to warm up', parseCount, 10)
    .option(
      '--write',
      "put the result into the family's manifest, in place of what was measured on this kind of device",
    )
    .option('--json', 'print one JSON document')
    .action(runProfile)
}
