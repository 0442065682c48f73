import type { Node } from '../graph/graph.ts'
import type { Layer } from './layers.ts'

/** `/blocks.0/mlp/mlp.1/MatMul` -> `blocks.0.mlp.1`: scopes as PyTorch's exporter writes them, without the operator. */
function moduleOfScope(name: string): string {
  const path: string[] = []
  for (const part of name
    .split('/')
    .filter((each) => each !== '')
    .slice(0, -1)) {
    // A container's child repeats the container's name.
    if (part.startsWith(`${path.at(-1)}.`)) path.pop()
    path.push(part)
  }
  return path.join('.')
}

/** The module that the newer exporter notes on a node: `['', 'blocks', 'blocks.0', 'linear']` -> `blocks.0`. */
function moduleOfNotes({ source }: Node): string {
  const text = source?.metadataProps.find(({ key }) => key === 'pkg.torch.onnx.name_scopes')?.value ?? ''
  return [...text.matchAll(/'([^']*)'/g)].map(([, scope]) => scope!).at(-2) ?? ''
}

/** The names by which a file of adapters may call a layer, as dotted paths. */
function namesOf({ node, weight }: Layer): string[] {
  const values = [weight, node.inputs[1]!]
  const found = [
    ...values,
    ...values.map((value) => value.replace(/\.weight(\.fp16)?$/, '')),
    moduleOfScope(node.name),
    moduleOfNotes(node),
    node.name,
  ]
  return [...new Set(found.filter((name) => name !== ''))]
}

/** A name that may mean a weight. */
export interface WeightName {
  readonly weight: string
  readonly name: string
}

export const nameWeights = (layers: readonly Layer[]): WeightName[] =>
  layers.flatMap((layer) => namesOf(layer).map((name) => ({ weight: layer.weight, name })))

const endsWithName = (long: string, short: string, separator: string): boolean =>
  long === short || long.endsWith(`${separator}${short}`)

/**
 * The weights that a module's path can mean: those called exactly so; else those whose names end like it or that it
 * ends like, of which the longest, because exporters and wrappers put names in front.
 *
 * @param path Dotted, or with underscores instead as kohya's scripts write it.
 */
export function findByName(names: readonly WeightName[], path: string): string[] {
  const isDotted = path.includes('.') || !/^(lora|lycoris)_/.test(path)
  const separator = isDotted ? '.' : '_'
  const wanted = isDotted ? path : path.replace(/^(lora|lycoris)_/, '')
  const named = isDotted ? names : names.map(({ weight, name }) => ({ weight, name: name.replace(/[./]/g, '_') }))
  const unique = (found: readonly WeightName[]): string[] => [...new Set(found.map(({ weight }) => weight))]
  const exact = named.filter(({ name }) => name === wanted)
  if (exact.length > 0) return unique(exact)
  const longer = named.filter(({ name }) => endsWithName(name, wanted, separator))
  if (longer.length > 0) return unique(longer)
  const shorter = named.filter(({ name }) => endsWithName(wanted, name, separator))
  const most = Math.max(...shorter.map(({ name }) => name.length))
  return unique(shorter.filter(({ name }) => name.length === most))
}
