import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readModel } from '@espalier/forge/graph/read'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { lineageOf, openModelFile } from '@espalier/forge/model-file'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildModel, type GraphSpec, type NodeSpec, randomTensor } from '../forge/build-graph.ts'

const CLI = join(import.meta.dirname, '../../../cli/bin/espalier.js')
const folder = mkdtempSync(join(tmpdir(), 'espalier-forge-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

function forge(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'forge', ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}
/** What `--json` printed, which has to be one document. */
const json = (...args: string[]) => {
  const { status, stdout, stderr } = forge(...args, '--json')
  expect([status, stderr.includes('espalier:')], stderr).toEqual([0, false])
  return JSON.parse(stdout)
}

const pads = [1, 1, 1, 1]
const conv = (name: string, from: string, weight: string, to: string): NodeSpec => ({
  op: 'Conv',
  name,
  inputs: [from, weight],
  outputs: [to],
  attributes: weight === 'point' ? {} : { pads },
})
/** [1, 3, 8, 8]: a stem with BatchNorm, a residual block, a head of four classes. */
const classifier: GraphSpec = {
  inputs: { x: [1, 3, 8, 8] },
  weights: {
    stem: randomTensor([8, 3, 3, 3], 1),
    gamma: floatTensor([1, 0.1, 1, 0.1, 1, 1, 1, 1], [8]),
    beta: floatTensor([0, 2, 0.5, -2, 1, -1, 2, -2], [8]),
    mean: randomTensor([8], 2),
    variance: floatTensor(Array(8).fill(2), [8]),
    point: randomTensor([6, 8, 1, 1], 3),
    inner: randomTensor([6, 6, 3, 3], 4),
    outer: randomTensor([6, 6, 3, 3], 5),
    head: randomTensor([6, 4], 6),
  },
  nodes: [
    conv('stem', 'x', 'stem', 'a'),
    { op: 'BatchNormalization', name: 'norm', inputs: ['a', 'gamma', 'beta', 'mean', 'variance'], outputs: ['b'] },
    { op: 'Relu', name: 'act', inputs: ['b'], outputs: ['c'] },
    conv('point', 'c', 'point', 'd'),
    conv('inner', 'd', 'inner', 'e'),
    { op: 'Relu', name: 'act2', inputs: ['e'], outputs: ['f'] },
    conv('outer', 'f', 'outer', 'g'),
    { op: 'Add', name: 'sum', inputs: ['g', 'd'], outputs: ['h'] },
    { op: 'GlobalAveragePool', name: 'pool', inputs: ['h'], outputs: ['i'] },
    { op: 'Flatten', name: 'flat', inputs: ['i'], outputs: ['j'] },
    { op: 'Gemm', name: 'classes', inputs: ['j', 'head'], outputs: ['y'] },
  ],
  outputs: ['y'],
}

beforeAll(async () => {
  writeFileSync(at('good.onnx'), buildModel(classifier))
  writeFileSync(at('open.onnx'), buildModel({ ...classifier, inputs: { x: [-1, 3, -1, -1] } }))
  writeFileSync(
    at('plain.onnx'),
    buildModel({
      inputs: { x: [1, 3, 8, 8] },
      nodes: [{ op: 'Relu', name: 'only', inputs: ['x'], outputs: ['y'] }],
      outputs: ['y'],
    }),
  )
  writeFileSync(at('truncated.onnx'), buildModel(classifier).subarray(0, 500))
  writeFileSync(
    at('unknown.onnx'),
    buildModel({
      ...classifier,
      nodes: [...classifier.nodes.slice(0, -1), { ...classifier.nodes.at(-1)!, op: 'Frobnicate' }],
    }),
  )
  // A sheet of pictures for each use: a row of 64 pixels is one, red is the first class and so on.
  mkdirSync(at('pictures'))
  for (const name of ['train_00', 'val_00']) {
    const rows = 12
    const pixels = Uint8Array.from({ length: rows * 64 * 3 }, (_, i) => (i * 7919 + (name === 'val_00' ? 31 : 0)) % 251)
    await sharp(pixels, { raw: { width: 64, height: rows, channels: 3 } })
      .png()
      .toFile(at(`pictures/${name}.png`))
    writeFileSync(at(`pictures/${name}.labels.txt`), Array.from({ length: rows }, (_, i) => i % 4).join('\n'))
  }
  mkdirSync(at('unlabelled'))
  await sharp({ create: { width: 20, height: 16, channels: 3, background: '#369' } })
    .png()
    .toFile(at('unlabelled/one.png'))
})

describe('espalier forge inspect', () => {
  test('lists layers, what folds and what does not and why, rectifiers with scores, and blocks', () => {
    const found = json('inspect', at('good.onnx'))
    expect(found).toMatchObject({ opset: 17, nodes: 11, inputs: [{ name: 'x', dims: [1, 3, 8, 8] }] })
    expect(found.macs).toBe(64 * (8 * 27 + 48 + 2 * 36 * 9) + 24)
    expect(found.layers[0]).toEqual({ name: 'Conv "stem"', output: [1, 8, 8, 8], macs: 64 * 216, parameters: 216 })
    expect(found.foldable).toMatchObject([{ nodes: ['Conv "stem"', 'BatchNormalization "norm"'], macsAfter: 64 * 216 }])
    expect(found.rectifiers).toMatchObject([
      { name: 'act', kind: 'Relu', channels: 8, on: 4, off: 4 },
      { name: 'act2', score: null, reason: expect.stringContaining('Conv "inner"') },
    ])
    expect(found.blocks).toEqual([{ name: 'sum', input: 'd', output: 'h' }])
  })

  test('prints the same in words, names the multiplications of a pair that stays apart, and draws the graph', () => {
    const nodes = classifier.nodes.map((node) => (node.name === 'act2' ? { ...node, op: 'Identity' } : node))
    writeFileSync(at('apart.onnx'), buildModel({ ...classifier, nodes }))
    const { status, stdout } = forge('inspect', at('apart.onnx'), '--svg', at('graph.svg'))
    expect(status).toBe(0)
    for (const line of [
      /Conv "stem" +1x8x8x8 +13\.8 k +216/,
      /Conv "stem" \+ BatchNormalization "norm" .* -3\.6 %/,
      /Conv "inner" \+ Conv "outer": the second is padded.*multiply no less: \d+ -> \d+/,
      /act +Relu +8 +4 +4 +\d+\.\d{4}/,
      /sum: "d" -> "h"/,
    ])
      expect(stdout).toMatch(line)
    const svg = readFileSync(at('graph.svg'), 'utf8')
    expect(svg).toMatch(/^<svg/)
    expect(svg).toContain('Conv &quot;stem&quot;  1x8x8x8')
  })
})

describe('espalier forge fold', () => {
  test('writes what it made, says what it did, and folds nothing the second time', async () => {
    const found = json('fold', at('good.onnx'), '-o', at('folded.onnx'))
    expect(found).toMatchObject({ pass: 'fold', before: { nodes: 11 }, after: { nodes: 10 } })
    expect(found.verification.outputs.relative).toBeLessThan(1e-5)
    const { graph, bytes } = await openModelFile(at('folded.onnx'))
    expect(bytes).toBe(found.after.bytes)
    expect(lineageOf(graph)).toMatchObject([{ pass: 'fold', parameters: { slope: 0.9 } }])
    expect(json('fold', at('folded.onnx')).report).toMatchObject({ fused: [], removed: [] })
  })

  test('takes the shape that a model leaves open, and refuses one for what is no input', () => {
    expect(json('fold', at('open.onnx'), '--shape', 'x=1x3x8x8').report.fused).toHaveLength(1)
    const { status, stderr } = forge('fold', at('open.onnx'), '--shape', 'z=1x3x8x8')
    expect([status, stderr]).toEqual([2, expect.stringContaining('Cannot take --shape "z": the model has "x"')])
  })
})

describe('espalier forge collapse', () => {
  test('ranks without pictures where BatchNorm tells, takes channels out and folds', () => {
    const found = json('collapse', at('good.onnx'), '-o', at('collapsed.onnx'), '--svg', at('ranking.svg'))
    expect(found.report.ranking.map(({ name }: { name: string }) => name)).toEqual(['act', 'act2'])
    expect(found.report.collapsed).toEqual([{ name: 'act', kind: 'Relu', removed: 4, zeroed: 0 }])
    expect(found.after.macs).toBeLessThan(found.before.macs)
    expect(readFileSync(at('ranking.svg'), 'utf8')).toContain('>Relu act<')
    expect(readModel(readFileSync(at('collapsed.onnx')), 'made').nodes.map(({ name }) => name)).not.toContain('act')
  })

  test('ranks by pictures', () => {
    const data = ['--data', at('pictures'), '--method', 'easier', '--count', '2', '--no-fold-after']
    const { report } = json('collapse', at('good.onnx'), ...data)
    expect(report.ranking.every(({ score }: { score: number }) => score > 0 && score <= 1)).toBe(true)
    expect(report.collapsed).toHaveLength(2)
    expect(report.fold).toBeUndefined()
  })

  test('needs pictures where nothing else tells', () => {
    const easier = forge('collapse', at('good.onnx'), '--method', 'easier')
    expect([easier.status, easier.stderr]).toEqual([2, expect.stringContaining('--data')])
    const none = forge('collapse', at('plain.onnx'))
    expect([none.status, none.stderr]).toEqual([
      1,
      expect.stringMatching(/^espalier: Cannot collapse .*only.*model input/),
    ])
  })
})

describe('espalier forge skip', () => {
  const data = ['--data', at('pictures'), '--held-out-limit', '12']

  test('judges by held-out accuracy and loss, and puts back what harms too much', () => {
    const found = json('skip', at('good.onnx'), ...data, '--tolerance', '100', '-o', at('skipped.onnx'))
    expect(found.report).toMatchObject({
      judgedBy: 'accuracy',
      blocks: [{ name: 'sum' }],
      steps: [{ block: 'sum', isKept: true, loss: expect.any(Number), harm: expect.any(Number) }],
    })
    expect(found.after.macs).toBe(found.before.macs - 64 * 2 * 36 * 9)
    const kept = forge('skip', at('good.onnx'), ...data, '--tolerance', '-100')
    expect(kept.stdout).toMatch(/sum +\d+\.\d{4} .* put back/)
  })

  test('judges by agreement where nobody says what the pictures show', () => {
    const pictures = ['--data', at('unlabelled'), '--calibration', '', '--held-out', '']
    const { status, stdout, stderr } = forge('skip', at('good.onnx'), ...pictures, '--tolerance', '100')
    expect(status, stderr).toBe(0)
    expect(stdout).toContain('harm in points of agreement')
  })

  test('is refused where there is no block, with the reason', () => {
    const { status, stderr } = forge('skip', at('plain.onnx'), ...data)
    expect([status, stderr]).toEqual([
      1,
      expect.stringMatching(/^espalier: Cannot skip blocks of .*found no sum of two values/),
    ])
  })
})

describe('espalier forge, used wrongly or on what is no model', () => {
  test.for([
    ['inspect', 'truncated.onnx', /Cannot read model "truncated.onnx": it is truncated or no ONNX/],
    ['fold', 'unknown.onnx', /Cannot run model .*Frobnicate/],
    ['collapse', 'truncated.onnx', /Cannot read model "truncated.onnx"/],
    ['skip', 'unknown.onnx', /Cannot run model .*Frobnicate/],
  ] as const)('%s ends with 1 and one line on %s, and writes nothing', ([pass, file, message]) => {
    const out = pass === 'inspect' ? ['--svg', at('none.svg')] : ['-o', at('none.onnx')]
    const { status, stdout, stderr } = forge(pass, at(file), ...out)
    expect([status, stdout]).toEqual([1, ''])
    expect(stderr.trim().split('\n').at(-1)).toMatch(message)
    expect(stderr).not.toMatch(/^ +at /m)
    expect([existsSync(at('none.svg')), existsSync(at('none.onnx'))]).toEqual([false, false])
  })

  test('ends with 2: no such file or choice, a shape that is none, no pictures', () => {
    for (const args of [
      ['fold', at('absent.onnx')],
      ['collapse', at('good.onnx'), '--method', 'guess'],
      ['fold', at('good.onnx'), '--shape', 'x=0x3'],
      ['skip', at('good.onnx')],
    ]) {
      const { status, stdout } = forge(...args)
      expect([args[0], status, stdout]).toEqual([args[0], 2, ''])
    }
  })
})
