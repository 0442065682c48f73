import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readGradients } from '@espalier/forge/gradients'
import { floatTensor } from '@espalier/forge/graph/tensor'
import { writeSafetensors } from '@espalier/forge/safetensors'
import { afterAll, beforeAll, expect, test } from 'vitest'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-gradients-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('readGradients() gives the numbers of each weight by its name', async () => {
  const path = join(folder, 'good.safetensors')
  const tensors = new Map([
    ['conv.w', floatTensor([1, -2, 0.5], [3, 1, 1, 1])],
    ['head.w', floatTensor([4], [1])],
  ])
  await writeFile(path, writeSafetensors({ metadata: { of: 'cross entropy' }, tensors }))
  const gradients = await readGradients(path)
  expect([...gradients].map(([name, values]) => [name, [...values]])).toEqual([
    ['conv.w', [1, -2, 0.5]],
    ['head.w', [4]],
  ])
})

test('readGradients() refuses a file that is absent, and one that is none', async () => {
  await expect(readGradients(join(folder, 'absent.safetensors'))).rejects.toThrow(
    /Cannot read gradients ".*absent.safetensors": ENOENT/,
  )
  const path = join(folder, 'bad.safetensors')
  await writeFile(path, 'no tensors at all')
  await expect(readGradients(path)).rejects.toMatchObject({ code: 'MODEL' })
})
