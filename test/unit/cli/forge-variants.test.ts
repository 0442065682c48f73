import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { lineageOf, openModelFile } from '@espalier/forge/model-file'
import { writeSafetensors } from '@espalier/forge/safetensors'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildModel } from '../forge/build-graph.ts'
import { randomNet } from '../forge/random-net.ts'
import { tinyVit } from '../forge/tiny-vit.ts'

const CLI = join(import.meta.dirname, '../../../cli/bin/espalier.js')
const folder = mkdtempSync(join(tmpdir(), 'espalier-forge-'))
const [net, vit, out] = ['net.onnx', 'vit.onnx', 'out.onnx'].map((name) => join(folder, name)) as [
  string,
  string,
  string,
]
const { spec } = randomNet(4)

beforeAll(async () => {
  writeFileSync(net, buildModel(spec))
  writeFileSync(vit, buildModel(tinyVit()))
  const pixels = Uint8Array.from({ length: 192 }, (_, i) => (i * 37) % 256)
  await sharp(pixels, { raw: { width: 8, height: 8, channels: 3 } }).toFile(join(folder, 'train.png'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, 'forge', ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

describe('espalier forge', () => {
  const data = ['--data', folder, '--limit', '1', '--mean', '0.5,0.5,0.5', '--deviation', '0.5,0.5,0.5', '--bgr']
  for (const [pass, input, ...args] of [
    ['prune', net, '--ratio', '0.4'],
    ['prune', net, '--unstructured', '--ratio', '0.9'],
    ['tokens', vit, '--method', 'tome', '--per-block', '3'],
    ['quantise', net, ...data],
    ['quantise', net, '--mode', 'dynamic'],
    ['quantise', vit, '--mode', 'fp16'],
  ] as [string, string, ...string[]][])
    test(`${pass} ${args.slice(0, 2).join(' ').replace(folder, 'pictures')} --json prints one document, and writes what it tells`, async () => {
      const { status, stdout, stderr } = run(pass, input, ...args, '-o', out, '--json')
      expect(status, stderr).toBe(0)
      const found = JSON.parse(stdout)
      const file = await openModelFile(out)
      expect(found).toMatchObject({ pass, after: { bytes: file.bytes } })
      expect(lineageOf(file.graph).map((step) => step.pass)).toEqual([pass])
    })

  test('prune takes gradients from a file, and asks for it', () => {
    const file = join(folder, 'gradients.safetensors')
    const tensors = new Map(
      Object.entries(spec.weights!).map(([name, { dims }]) => [
        name,
        floatTensor(new Float32Array(dims.reduce((a, b) => a * b, 1)).fill(1), dims),
      ]),
    )
    writeFileSync(file, writeSafetensors({ metadata: {}, tensors }))
    expect(run('prune', net, '--score', 'taylor', '--gradients', file).status).toBe(0)
    const asked = run('prune', net, '--score', 'taylor')
    expect(asked).toMatchObject({ status: 2, stdout: '' })
    expect(asked.stderr).toContain('give the gradients with --gradients')
  })

  test('refuses numbers that are none', () => {
    for (const args of [
      ['quantise', net, '--mean', '1,2'],
      ['quantise', net, '--deviation', '0,1,1'],
      ['prune', net, '--ratio', '1'],
      ['tokens', vit, '--per-block', '1.5'],
    ])
      expect(run(...args).status, args.join(' ')).toBe(2)
    expect(run('tokens', net)).toMatchObject({ status: 1, stdout: '' })
  })
})
