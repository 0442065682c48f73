import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { findSensors } from '@espalier/agent/sensors/find-sensors'
import { parsePmic } from '@espalier/agent/sensors/pi-pmic'
import { recordedCommands } from '@espalier/agent/sensors/run-command'
import type { SystemFiles } from '@espalier/agent/sensors/system-files'
import { describe, expect, test } from 'vitest'

const FIXTURES = join(import.meta.dirname, '../../fixtures/agent')

type Answers = Record<string, string | (() => string)>

/** The fixture tree, with files that end so answering otherwise. */
function files(answers: Answers = {}, rename: (path: string) => string = (path) => path): SystemFiles {
  return {
    list: (path) => readdirSync(path),
    read: (path) => {
      const found = Object.entries(answers).find(([end]) => path.endsWith(end))?.[1]
      if (found === undefined) return readFileSync(rename(path), 'utf8')
      return typeof found === 'string' ? found : found()
    },
  }
}

const failWith = (code: string) => (): never => {
  throw Object.assign(new Error(code), { code })
}

function find(board: string, answers: Answers = {}) {
  const root = join(FIXTURES, board)
  const reading = files(answers)
  return findSensors({ root, files: reading, run: recordedCommands(reading, root) })
}

describe('findSensors()', () => {
  // Rails that are fed from a counted one are named as refused: nothing is counted twice (jetson_stats #51, #344).
  test.each([
    ['orin-nano-jp6', ['VDD_IN'], 4.7295, 'module', 2],
    ['agx-orin-jp6', ['VDD_GPU_SOC', 'VDD_CPU_CV', 'VIN_SYS_5V0', 'VDDQ_VDD2_1V8AO'], 9.1087, 'module', 0],
    ['nano-jp4', ['POM_5V_IN'], 0.933, 'module', 2],
    ['tx2-jp4', ['VDD_IN'], 4.321, 'module', 5],
    ['agx-xavier-jp4', ['GPU', 'CPU', 'SOC', 'CV', 'VDDRQ', 'SYS5V'], 6.928, 'module', 0],
    ['agx-thor-jp7', ['VIN'], 39.36, 'board', 0],
    ['good-shunt-ina219', ['input'], 3.0504, 'board', 0],
    ['pi4-ina228', ['input'], 4.08, 'board', 0],
    ['pi4-poe', ['rpi-poe'], 4.1006, 'board', 0],
    ['laptop-unsigned', ['BAT0'], 14.2588, 'board', 0],
    ['laptop-signed', ['BAT0'], 8.42, 'board', 0],
  ] as const)('finds the rails and the total of %s', async (board, rails, watts, scope, inside) => {
    const { chosen, refused } = await find(board)

    expect(chosen?.rails).toEqual(rails)
    expect(chosen?.watts).toBeCloseTo(watts, 3)
    expect(chosen?.measures.probe.source.scope).toBe(scope)
    expect(refused.filter(({ why }) => why === 'inside')).toHaveLength(inside)
  })

  test('sums the regulators of a Pi 5 and corrects for what they do not see', async () => {
    const { chosen } = await find('pi5')
    expect(chosen?.rails).toHaveLength(12)
    expect(chosen?.watts).toBeCloseTo(3.2013, 4)
    expect(chosen?.notes[0]).toContain('2.282 W')
  })

  test('takes packages once and prefers psys, whatever their folders are called', async () => {
    const packages = await find('good-rapl')
    const psys = await find('psys-rapl')
    expect(packages.chosen?.rails).toEqual(['package-0'])
    expect(psys.chosen?.rails).toEqual(['psys'])
    expect(psys.refused).toMatchObject([{ name: 'rapl:package-0', why: 'inside' }])
  })

  test('chooses a counter in a chip over power that must be sampled', async () => {
    expect((await find('pi4-ina228')).chosen).toMatchObject({
      preference: 'input-counter',
      measures: { kind: 'energy' },
    })
  })

  test('refuses what reads nonsense, says nothing of the device or is not there, each with its reason', async () => {
    const shunt = await find('bad-shunt-ina219')
    const mains = await find('laptop-on-mains')
    const usb = await find('laptop-unsigned')
    const bare = await find('pi4-bare')

    expect(shunt.chosen).toBeUndefined()
    expect(shunt.refused[0]).toMatchObject({ why: 'implausible', reason: expect.stringContaining('shunt_resistor') })
    expect(mains.refused).toMatchObject([{ why: 'unavailable', reason: expect.stringContaining('Not charging') }])
    expect(usb.refused).toMatchObject([{ name: 'power-supply:ucsi-source-psy-1-00081', why: 'unused' }])
    expect(bare.chosen).toBeUndefined()
    expect(bare.refused).toMatchObject([{ name: 'pmic', why: 'unavailable' }])
  })

  test.each([
    ['good-rapl', 'energy_uj', 'EACCES', 'unreadable'],
    ['orin-nano-jp6', 'curr1_input', 'EACCES', 'unreadable'],
    ['orin-nano-jp6', 'curr1_input', 'EAGAIN', 'unavailable'],
    ['orin-nano-jp6', 'in1_input', 'ENODATA', 'unavailable'],
    ['nano-jp4', 'in_power0_input', 'EACCES', 'unreadable'],
    ['pi4-poe', 'current_now', 'EIO', 'unavailable'],
  ])('does not take %s for a device without sensors when %s fails with %s', async (board, file, code, why) => {
    const { chosen, refused } = await find(board, { [file]: failWith(code) })
    expect(chosen).toBeUndefined()
    expect(refused.map((each) => each.why)).toContain(why)
    expect(refused.map(({ reason }) => reason).join()).toContain(code)
  })

  test('reads a child rail above its parent as it is: readings are not simultaneous', async () => {
    const { chosen } = await find('orin-nano-jp6', { curr1_input: '1520', curr2_input: '1784' })
    expect(chosen?.watts).toBeCloseTo(7.5514, 3)
  })

  test('finds a chip again whose number has changed, and never reads another in its place', async () => {
    const root = join(FIXTURES, 'orin-nano-jp6')
    let number = 1
    const moved: SystemFiles = {
      list: (path) => (path.endsWith('hwmon') ? [`hwmon${number}`] : readdirSync(path)),
      read: (path) =>
        path.includes('hwmon/hwmon') && !path.includes(`hwmon${number}/`)
          ? failWith('ENOENT')()
          : readFileSync(path.replace(/hwmon\d+/, 'hwmon1'), 'utf8'),
    }
    const { chosen } = await findSensors({ root, files: moved, run: recordedCommands(moved, root) })
    number = 5
    const { probe } = chosen!.measures
    expect(await probe.read()).toBeCloseTo(4.7295, 3)
  })
})

test('parsePmic() refuses a text that lacks one of the large rails: the total would be wrong without looking so', () => {
  const text = readFileSync(join(FIXTURES, 'pi5/commands/vcgencmd_pmic_read_adc.txt'), 'utf8')
  expect(parsePmic(text).rawW).toBeCloseTo(2.2822, 4)
  expect(parsePmic(text.replace(/.*HDMI_A.*\n/, '')).incomplete).toEqual(['HDMI'])
  expect(() => parsePmic(text.replace(/.*VDD_CORE_A.*\n/, ''))).toThrow('VDD_CORE')
  expect(() => parsePmic('error=1 error_msg="Command not registered"')).toThrow('found 0 rails')
})
