import { ModelError } from '@espalier/shared/errors'
import type { Graph } from '../graph/graph.ts'
import { floatsOf, type Tensor } from '../graph/tensor.ts'
import { findLayers, type Layer } from './layers.ts'
import { findByName, nameWeights, type WeightName } from './module-names.ts'
import type { Adapter, Pair } from './pair.ts'

export interface ConvertOptions {
  /** What a pair without an alpha of its own is multiplied by; 1 if absent. PEFT keeps it in a file beside. */
  readonly scaleOf?: (module: string, rank: number) => number
  /** Leave out what matches nothing instead of refusing; a file may hold adapters of several models. */
  readonly isPartial?: boolean
}

export interface ConvertReport {
  readonly matched: readonly {
    readonly module: string
    readonly weight: string
    readonly rank: number
    readonly scale: number
  }[]
  readonly unmatched: readonly { readonly name: string; readonly reason: string }[]
}

type Half = 'down' | 'up' | 'alpha'

/** PEFT's names, an adapter's own name after A and B allowed; kohya's; those of older diffusers. */
const HALVES: readonly (readonly [RegExp, Half])[] = [
  [/^(.+)\.lora_A(?:\.[^.]+)?\.weight$/, 'down'],
  [/^(.+)\.lora_B(?:\.[^.]+)?\.weight$/, 'up'],
  [/^(.+)\.lora[._]down\.weight$/, 'down'],
  [/^(.+)\.lora[._]up\.weight$/, 'up'],
  [/^(.+)\.alpha$/, 'alpha'],
]

interface Named {
  readonly name: string
  readonly tensor: Tensor
}

type Found = { module: string } & Partial<Record<Half, Named>>

type Unmatched = ConvertReport['unmatched'][number]

/** Sort a file's tensors by module. */
function groupByModule(tensors: ReadonlyMap<string, Tensor>): { modules: Found[]; unmatched: Unmatched[] } {
  const modules = new Map<string, Found>()
  const unmatched: Unmatched[] = []
  for (const [name, tensor] of tensors) {
    const [match, half] = HALVES.map(([pattern, each]) => [pattern.exec(name), each] as const).find(([m]) => m) ?? []
    if (match == null || half === undefined) {
      unmatched.push({ name, reason: 'is no half of a low-rank pair (lora_A and lora_B, or lora_down and lora_up)' })
      continue
    }
    const found = modules.get(match[1]!) ?? { module: match[1]! }
    if (found[half] !== undefined) unmatched.push({ name, reason: `is there twice, as "${found[half].name}"` })
    else modules.set(match[1]!, { ...found, [half]: { name, tensor } })
  }
  return { modules: [...modules.values()], unmatched }
}

const shapeOf = ({ tensor }: Named): string => `[${tensor.dims.join(', ')}]`

/** A module's tensors as a pair of a layer, or why not. */
function toPair(
  { module, down, up, alpha }: Found,
  { layers, names }: { layers: readonly Layer[]; names: readonly WeightName[] },
  scaleOf: (module: string, rank: number) => number,
): { pair: Pair; scale: number } | string {
  if (down === undefined || up === undefined) return `has no ${down === undefined ? 'down (lora_A)' : 'up (lora_B)'}`
  const path = module.replace(/^base_model\.model\./, '')
  const weights = findByName(names, path)
  if (weights.length === 0) return 'matches no weight of a MatMul, Gemm or Conv'
  if (weights.length > 1) return `matches several: ${weights.map((weight) => `"${weight}"`).join(', ')}`
  const { weight, outputs, inputs } = layers.find((layer) => layer.weight === weights[0])!
  const rank = down.tensor.dims[0] ?? 0
  const [a, b] = [floatsOf(down.tensor, down.name), floatsOf(up.tensor, up.name)]
  const isFitting =
    rank > 0 && up.tensor.dims[0] === outputs && a.length === rank * inputs && b.length === outputs * rank
  if (!isFitting)
    return `is down ${shapeOf(down)} and up ${shapeOf(up)}, expected [r, ${inputs}] and [${outputs}, r] of "${weight}"`
  if (!a.every(Number.isFinite) || !b.every(Number.isFinite)) return 'has values that are not finite'
  const scale = alpha === undefined ? scaleOf(path, rank) : floatsOf(alpha.tensor, alpha.name)[0]! / rank
  if (!Number.isFinite(scale)) return 'has an alpha that is not finite'
  return { pair: { weight, outputs, inputs, rank, up: b.map((value) => scale * value), down: a }, scale }
}

const list = (names: readonly string[]): string =>
  `${names.slice(0, 5).join('; ')}${names.length > 5 ? `; and ${names.length - 5} more` : ''}`

/**
 * Low-rank pairs of a .safetensors file as an adapter of this graph, matched by module path: PEFT's `lora_A` [r, in]
 * and `lora_B` [out, r], kohya's `lora_down`, `lora_up` and `alpha`; of convolutions [r, in, k, k] and [out, r, 1, 1].
 * Alpha over rank is multiplied into up, so that 1 is the strength it was trained at.
 *
 * @throws {ModelError} If nothing matches, or something does not and `isPartial` is not set; it lists what.
 */
export function convertPairs(
  graph: Graph,
  tensors: ReadonlyMap<string, Tensor>,
  { scaleOf = () => 1, isPartial = false }: ConvertOptions = {},
): { adapter: Adapter; report: ConvertReport } {
  const layers = findLayers(graph)
  const names = nameWeights(layers)
  const { modules, unmatched } = groupByModule(tensors)
  const pairs = new Map<string, Pair>()
  const matched: ConvertReport['matched'][number][] = []
  for (const found of modules) {
    const made = toPair(found, { layers, names }, scaleOf)
    if (typeof made === 'string') unmatched.push({ name: found.module, reason: made })
    else if (pairs.has(made.pair.weight))
      unmatched.push({ name: found.module, reason: `matches "${made.pair.weight}", which has a pair already` })
    else {
      pairs.set(made.pair.weight, made.pair)
      matched.push({ module: found.module, weight: made.pair.weight, rank: made.pair.rank, scale: made.scale })
    }
  }
  if (pairs.size === 0 || (unmatched.length > 0 && !isPartial))
    throw new ModelError(
      `Cannot convert the adapter: found ${pairs.size} of ${modules.length} pairs that match${unmatched.length === 0 ? '' : ` (${list(unmatched.map(({ name, reason }) => `"${name}" ${reason}`))})`}, expected all to be for one of the model's ${layers.length} weights (${list(layers.map(({ weight }) => `"${weight}"`))})`,
    )
  return { adapter: [...pairs.values()], report: { matched, unmatched } }
}
