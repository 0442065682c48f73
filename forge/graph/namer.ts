import type { Graph } from './graph.ts'

/** Gives out names that no value and no node of a graph has, nor any that it gave out before, from ones that say what they are. */
export function namerOf(graph: Graph): (wanted: string) => string {
  const taken = new Set([
    ...graph.initializers.keys(),
    ...graph.inputs.map(({ name }) => name),
    ...graph.nodes.flatMap(({ name, outputs }) => [name, ...outputs]),
  ])
  return (wanted) => {
    let name = wanted
    for (let i = 1; taken.has(name); i++) name = `${wanted}_${i}`
    taken.add(name)
    return name
  }
}
