import type { Graph } from './graph.ts'
import { namesRead } from './graph.ts'

const WEIGHTED = new Set([
  'Conv',
  'ConvTranspose',
  'Gemm',
  'MatMul',
  'ConvInteger',
  'MatMulInteger',
  'QLinearConv',
  'QLinearMatMul',
]) // prettier-ignore

/** Weights may come through casts and such: whatever depends on no input is as constant as an initializer. */
function constantValues(graph: Graph): Set<string> {
  const constant = new Set(graph.initializers.keys())
  for (const node of graph.nodes)
    if (namesRead(node).every((name) => constant.has(name))) for (const output of node.outputs) constant.add(output)
  return constant
}

/**
 * Layers with weights on the longest path from an input to an output: what has to be computed one after another
 * (methods.md 13).
 */
export function depthOf(graph: Graph): number {
  const constant = constantValues(graph)
  const depths = new Map<string, number>()
  let deepest = 0
  for (const node of graph.nodes) {
    const before = Math.max(0, ...namesRead(node).map((name) => depths.get(name) ?? 0))
    const isLayer = WEIGHTED.has(node.opType) && node.inputs.slice(1).some((name) => constant.has(name))
    const own = before + (isLayer ? 1 : 0)
    for (const output of node.outputs) depths.set(output, own)
    deepest = Math.max(deepest, own)
  }
  return deepest
}
