import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { waitFor } from '../../../cli/local-fleet.ts'
import { supervise } from '../../../cli/supervise.ts'

const folder = mkdtempSync(join(tmpdir(), 'espalier-supervise-'))
afterAll(() => rmSync(folder, { recursive: true }))

function writeScript(name: string, text: string): string {
  const path = join(folder, `${name}.mjs`)
  writeFileSync(path, text)
  return path
}

test('a program that is killed starts again, and prints line by line', async () => {
  const script = writeScript('steady', "console.log('up ' + process.pid); setInterval(() => {}, 1000)")
  const lines: string[] = []
  const program = supervise({ name: 'steady', script, args: [] }, (line) => lines.push(line))
  const first = await waitFor('the first start', async () => program.pid(), { timeoutMs: 20_000 })
  await waitFor('its first line', async () => lines[0], { timeoutMs: 20_000 })
  process.kill(first, 'SIGKILL')
  await waitFor('the second line', async () => lines[1], { timeoutMs: 20_000 })
  expect(program.pid()).not.toBe(first)
  expect(program.restarts()).toBe(1)
  expect(lines[0]).toBe(`up ${first}`)
  await program.stop()
})

test('stop() ends a program for good and lets it finish its work', async () => {
  const mark = join(folder, 'mark')
  const script = writeScript(
    'polite',
    `import { writeFileSync } from 'node:fs'
     process.on('SIGTERM', () => { writeFileSync(${JSON.stringify(mark)}, 'saved'); process.exit(0) })
     console.log('ready'); setInterval(() => {}, 1000)`,
  )
  const lines: string[] = []
  const program = supervise({ name: 'polite', script, args: [] }, (line) => lines.push(line))
  await waitFor('its line', async () => lines[0], { timeoutMs: 20_000 })
  await program.stop()
  expect(readFileSync(mark, 'utf8')).toBe('saved')
  expect([program.pid(), program.restarts()]).toEqual([undefined, 0])
})
