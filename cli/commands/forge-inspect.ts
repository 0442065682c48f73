import { writeFile } from 'node:fs/promises'
import { describeNode } from '@espalier/forge/graph/attributes'
import { costsOf } from '@espalier/forge/graph/cost'
import { inputShapes, probeShapes } from '@espalier/forge/graph/run'
import { lineageOf, openModelFile } from '@espalier/forge/model-file'
import { rankRectifiers } from '@espalier/forge/passes/collapse'
import { fold, hoistConstants } from '@espalier/forge/passes/fold'
import { type Block, judgeSums, type NoBlock } from '@espalier/forge/passes/skip'
import { type Common, checkShapes, sizeOf } from './forge-pass.ts'
import { foldTable, kilo, rankingTable, table } from './forge-tables.ts'

interface InspectOptions extends Common {
  readonly svg?: string
}

/** All that a model tells by itself. */
async function lookInto(input: string, { shape }: Common) {
  const file = await openModelFile(input)
  checkShapes(file.graph, shape)
  const graph = hoistConstants(file.graph)
  const shapes = await probeShapes(graph, input, shape)
  const costs = costsOf(graph, shapes)
  const { report } = fold(graph, shapes)
  const sums = judgeSums(graph, shapes)
  const found = {
    opset: graph.opset,
    producer: `${graph.model.producerName} ${graph.model.producerVersion}`.trim(),
    inputs: inputShapes(graph, shape),
    outputs: graph.outputs.map(({ name }) => ({ name, dims: shapes.get(name) })),
    ...sizeOf(graph, shapes, file.bytes),
    lineage: lineageOf(graph),
    layers: graph.nodes.map((node) => ({
      name: describeNode(node),
      output: shapes.get(node.outputs[0]!) ?? [],
      ...costs.get(node)!,
    })),
    removable: report.removed,
    foldable: report.fused,
    refused: report.refused,
    rectifiers: rankRectifiers(graph, shapes, 'tlc').map(({ name, kind, channels, score, on, off, reason }) => ({
      name,
      kind,
      channels,
      score,
      on,
      off,
      ...(reason !== undefined && { reason }),
    })),
    blocks: sums.filter((sum): sum is Block => 'input' in sum),
    noBlocks: sums.filter((sum): sum is NoBlock => 'reason' in sum),
  }
  return { found, graph, shapes }
}

type Found = Awaited<ReturnType<typeof lookInto>>['found']

/** The same as text, section by section. */
function describe(input: string, found: Found): string[] {
  const layers = found.layers.filter(({ macs, parameters }) => macs + parameters > 0)
  const section = (title: string, rows: readonly string[]): string[] => ['', title, ...rows]
  return [
    `${input}: opset ${found.opset}, ${found.producer || 'unknown producer'}, ${kilo(found.bytes)}B, ${found.nodes} nodes, ${kilo(found.macs)}MAC, ${kilo(found.parameters)} parameters`,
    ...[...found.inputs, ...found.outputs].map(({ name, dims }, i) =>
      `${i < found.inputs.length ? 'input' : 'output'} "${name}" ${dims?.join('x') ?? ''}`.trimEnd(),
    ),
    ...section(
      'Layers with weights or multiplications',
      table(
        ['layer', 'output', 'MACs', 'parameters'],
        layers.map((layer) => [layer.name, layer.output.join('x'), kilo(layer.macs), kilo(layer.parameters)]),
      ),
    ),
    ...section('Fold', foldTable({ removed: found.removable, fused: found.foldable, refused: found.refused })),
    ...section(
      `Collapse: ${found.rectifiers.length} rectifiers`,
      rankingTable(
        found.rectifiers.map((each) => ({ ...each, reason: each.reason })),
        'TLC',
      ),
    ),
    ...section(`Skip: ${found.blocks.length} blocks that have one shape before and after`, [
      ...found.blocks.map(({ name, input: from, output }) => `  ${name}: "${from}" -> "${output}"`),
      ...found.noBlocks.map(({ name, reason }) => `  ${name} is none: ${reason}`),
    ]),
  ]
}

/** `espalier forge inspect`. @throws {ModelError} If the model cannot be read or run. */
export async function runInspect(input: string, options: InspectOptions): Promise<void> {
  const { found, graph, shapes } = await lookInto(input, options)
  if (options.json) process.stdout.write(`${JSON.stringify(found, undefined, 2)}\n`)
  else process.stdout.write(`${describe(input, found).join('\n')}\n`)
  if (options.svg === undefined) return
  const { drawGraph } = await import('@espalier/forge/measure/draw-graph')
  await writeFile(options.svg, drawGraph(graph, shapes))
}
