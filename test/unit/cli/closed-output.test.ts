import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const CLI = join(import.meta.dirname, '../../../cli/bin/espalier.js')

test('a command whose reader has enough ends without a word', async () => {
  const child = spawn(process.execPath, [CLI, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] })
  child.stdout.destroy()
  const said: string[] = []
  child.stderr.setEncoding('utf8').on('data', (text) => said.push(text))
  const [code] = await once(child, 'close')
  expect([code, said.join('')]).toEqual([0, ''])
})
