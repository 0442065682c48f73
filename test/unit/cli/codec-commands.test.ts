import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, describe, expect, test } from 'vitest'

const CLI = join(import.meta.dirname, '../../../cli/bin/espalier.js')
const folder = mkdtempSync(join(tmpdir(), 'espalier-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' })
  return { status, stdout, stderr }
}

describe('espalier', () => {
  const clip = join(import.meta.dirname, '../../../models/clip/0000.webp')
  const stream = join(folder, 'out.esp')
  const picture = join(folder, 'out.png')

  test('encodes and decodes in separate processes', async () => {
    expect(run('encode', clip, stream, '--alpha', '0.5').status).toBe(0)
    expect(run('decode', stream, picture).status).toBe(0)
    const [source, decoded] = await Promise.all(
      [clip, picture].map((file) => sharp(file).removeAlpha().raw().toBuffer()),
    )
    const squares = source!.reduce((sum, level, i) => sum + (level - decoded![i]!) ** 2, 0)
    expect(10 * Math.log10((255 ** 2 * source!.length) / squares)).toBeGreaterThan(30)
  })

  test('inspect --json prints one document and nothing else', () => {
    const { status, stdout } = run('inspect', stream, '--json')
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({
      width: 512,
      height: 288,
      alpha255: 128,
      family: 'kodo',
      variant: 'full',
      sections: { headerBytes: 32, checksumBytes: 4 },
    })
    const { bitsByChannel, payloadBytes } = JSON.parse(stdout)
    const bits = bitsByChannel.reduce((sum: number, each: number) => sum + each, 0)
    // The coder's state and its rounding are all that the channels do not account for.
    expect(Math.abs(payloadBytes * 8 - bits)).toBeLessThan(64 + 0.001 * bits)
  })

  test('encode --target-bytes takes the best quality that fits, or says what the lowest rate takes', () => {
    const within = join(folder, 'within.esp')
    expect(run('encode', clip, within, '--target-bytes', '2000').status).toBe(0)
    const { length } = readFileSync(within)
    expect(length).toBeLessThanOrEqual(2000)
    expect(length).toBeGreaterThan(1800)
    const { status, stderr } = run('encode', clip, within, '--target-bytes', '50')
    expect([status, stderr]).toEqual([2, expect.stringMatching(/lowest rate takes \d+/)])
    expect(readFileSync(within).length).toBe(length)
  })

  test('a truncated stream fails with one line that says what was found, and writes nothing', () => {
    const cut = join(folder, 'cut.esp')
    writeFileSync(cut, readFileSync(stream).subarray(0, 100))
    const { status, stderr } = run('decode', cut, join(folder, 'cut.png'))
    expect(status).toBe(1)
    expect(stderr.trim()).toMatch(/^espalier: Cannot read stream: found 100 bytes/)
    expect(() => readFileSync(join(folder, 'cut.png'))).toThrow(/ENOENT/)
  })

  test('wrong use ends with 2: an unknown command, a wrong alpha, a picture that is not there', () => {
    expect(run('bogus').status).toBe(2)
    expect(run('encode', clip, stream, '--alpha', '3').status).toBe(2)
    const { status, stderr } = run('encode', join(folder, 'none.png'), stream)
    expect([status, stderr]).toEqual([2, expect.stringContaining('none.png')])
  })
})
