import { freshName, type Graph, type Node, namesRead } from './graph.ts'
import type { Tensor } from './tensor.ts'

export interface Changes {
  /** A node -> the nodes that stand in its place; none removes it. */
  readonly nodes?: ReadonlyMap<Node, readonly Node[]>
  /** Initializers to add or replace. */
  readonly initializers?: ReadonlyMap<string, Tensor>
}

/** Drop nodes whose outputs nobody reads and initializers that nobody reads any more. */
export function sweep(graph: Graph): Graph {
  const needed = new Set(graph.outputs.map(({ name }) => name))
  const kept: Node[] = []
  for (const node of [...graph.nodes].reverse()) {
    if (!node.outputs.some((name) => needed.has(name))) continue
    kept.push(node)
    for (const name of namesRead(node)) needed.add(name)
  }
  return {
    ...graph,
    nodes: kept.reverse(),
    initializers: new Map([...graph.initializers].filter(([name]) => needed.has(name))),
  }
}

/** Replace nodes where they stand, add initializers, and drop what nobody reads any more. */
export function rewrite(graph: Graph, { nodes, initializers }: Changes): Graph {
  return sweep({
    ...graph,
    nodes: nodes === undefined ? graph.nodes : graph.nodes.flatMap((node) => nodes.get(node) ?? [node]),
    initializers: initializers === undefined ? graph.initializers : new Map([...graph.initializers, ...initializers]),
  })
}

/**
 * Let readers of one value read another, as if the nodes between did nothing. An output of the graph keeps its name:
 * where it would go, what takes its place is called by its name instead.
 *
 * @param wanted Value that goes -> value that takes its place.
 */
export function rewire(graph: Graph, wanted: ReadonlyMap<string, string>): Graph {
  // What an inner graph captures keeps its name and its maker.
  const captured = new Set(graph.nodes.flatMap((node) => namesRead(node).filter((name) => !node.inputs.includes(name))))
  const values = new Map([...wanted].filter(([gone, stays]) => !captured.has(gone) && !captured.has(stays)))
  const outputs = new Set(graph.outputs.map(({ name }) => name))
  const made = new Set(graph.nodes.flatMap((node) => node.outputs))
  const renamed = new Map<string, string>()
  const resolve = (name: string): string => {
    let at = name
    while (values.has(at)) at = values.get(at)!
    return at
  }
  for (const gone of values.keys()) {
    const stays = resolve(gone)
    if (outputs.has(gone) && made.has(stays) && !outputs.has(stays) && !renamed.has(stays)) renamed.set(stays, gone)
  }
  const final = (name: string): string => {
    const stays = resolve(name)
    return renamed.get(stays) ?? stays
  }
  const read = new Set([...outputs, ...graph.nodes.flatMap(namesRead)])
  // One whose further outputs somebody reads stays; a mask that Dropout also makes is read by nobody.
  const isBypassed = (node: Node): boolean =>
    node.outputs.some((name) => values.has(name)) && node.outputs.every((name) => values.has(name) || !read.has(name))
  const kept = graph.nodes.flatMap((node): Node[] => {
    // An input or another output of the graph: a copy is the only way to have both names.
    const copies = node.outputs.flatMap((out): Node[] =>
      values.has(out) && outputs.has(out) && final(out) !== out
        ? [{ ...node, opType: 'Identity', domain: '', inputs: [final(out)], outputs: [out], attributes: new Map() }]
        : [],
    )
    if (isBypassed(node)) return copies
    const own = node.outputs.map((name) =>
      values.has(name) ? freshName(graph, `${name}.unread`) : (renamed.get(name) ?? name),
    )
    return [{ ...node, inputs: node.inputs.map(final), outputs: own }, ...copies]
  })
  return sweep({ ...graph, nodes: kept })
}
