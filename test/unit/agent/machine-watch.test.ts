import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { MachineWatch } from '@espalier/agent/sensors/machine-watch'
import { parsePowerMode } from '@espalier/agent/sensors/power-mode'
import { recordedCommands } from '@espalier/agent/sensors/run-command'
import type { SystemFiles } from '@espalier/agent/sensors/system-files'
import { parseThrottled } from '@espalier/agent/sensors/throttling'
import { expect, test } from 'vitest'

const FIXTURES = join(import.meta.dirname, '../../fixtures/agent')

async function lookAt(board: string, unreadable = 'nothing') {
  const root = join(FIXTURES, board)
  const files: SystemFiles = {
    list: (path) => readdirSync(path),
    read: (path) => {
      if (path.endsWith(unreadable)) throw Object.assign(new Error('EAGAIN'), { code: 'EAGAIN' })
      return readFileSync(path, 'utf8')
    },
  }
  const watch = new MachineWatch({ root, files, run: recordedCommands(files, root) })
  await watch.askPrograms()
  watch.look()
  return watch.state
}

test('MachineWatch leaves out what is switched off, and zones that mean nothing', async () => {
  expect(await lookAt('orin-nano-jp6', 'thermal_zone2/temp')).toEqual({
    celsius: { 'cpu-thermal': 46.125, 'tj-thermal': 46.125 },
    clocksMhz: { policy0: 729.6, gpu: 305 },
    throttledNow: [],
    throttledPast: [],
    throttleEvents: { oc1: 0, oc2: 0, oc3: 37 },
    powerMode: 'MAXN_SUPER',
  })
})

test('MachineWatch joins what firmware and kernel say of a Raspberry Pi', async () => {
  expect(await lookAt('pi5')).toMatchObject({
    celsius: { 'cpu-thermal': 46.3 },
    throttledNow: ['under-voltage', 'throttled'],
    throttledPast: ['under-voltage', 'throttled'],
  })
})

test('MachineWatch of a machine that tells nothing says nothing', async () => {
  expect(await lookAt('good-rapl')).toMatchObject({ celsius: {}, clocksMhz: {}, throttledNow: [], throttleEvents: {} })
})

test.each([
  ['throttled=0x0', [], []],
  ['throttled=0x80008\n', ['soft-temperature-limit'], ['soft-temperature-limit']],
  ['throttled=0xe0000', [], ['frequency-capped', 'throttled', 'soft-temperature-limit']],
])('parseThrottled(%j)', (text, now, past) => {
  expect(parseThrottled(text)).toEqual({ now, past })
})

test('parsers refuse or pass over what is no answer', () => {
  expect(() => parseThrottled('error=1')).toThrow('expected throttled=0x')
  expect(parsePowerMode('')).toBeUndefined()
  expect(parsePowerMode('NVPM WARN: x\nNV Power Mode: 15W\n0')).toBe('15W')
})
