import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { environmentName, flagName, loadConfig, readConfigFile, SETTINGS } from '@espalier/agent/config'
import { describe, expect, test } from 'vitest'

const slots = [{ slot: 'cam0', source: { kind: 'images', path: 'clip' } }]
const file = (settings: Record<string, unknown>) => ({
  name: 'agent.json',
  settings: { device: 'd1', slots, ...settings },
})

describe('loadConfig()', () => {
  test('fills in defaults, also those that follow from other settings', () => {
    const config = loadConfig({ file: file({}) })

    expect(config).toMatchObject({
      site: 'local',
      dataDir: join('.espalier', 'd1'),
      qualityEveryFrames: 25,
      threads: 1,
    })
    expect(config.slots[0]).toEqual({
      slot: 'cam0',
      source: { kind: 'images', path: 'clip', frameRate: 5, loop: true },
      sink: { kind: 'uplink' },
      weight: 1,
      keyFrameEveryS: 10,
    })
    expect(Object.isFrozen(config)).toBe(true)
  })

  test('takes the file over the default, the environment over the file, and a flag over all', () => {
    const inFile = loadConfig({ file: file({ threads: 2 }) })
    const environment = { ESPALIER_THREADS: '3' }
    const inEnvironment = loadConfig({ file: file({ threads: 2 }), environment })
    const asFlag = loadConfig({ file: file({ threads: 2 }), environment, flags: { threads: '4' } })

    expect([inFile.threads, inEnvironment.threads, asFlag.threads]).toEqual([2, 3, 4])
  })

  test('names the key and the source of a value that it cannot use', () => {
    expect(() => loadConfig({ file: file({ threads: 0 }) })).toThrow(/"threads" from file "agent.json"/)
    expect(() => loadConfig({ file: file({}), environment: { ESPALIER_THREADS: 'two' } })).toThrow(/ESPALIER_THREADS/)
    expect(() => loadConfig({ file: file({}), flags: { 'mqtt-url': 'http://x' } })).toThrow(/flag --mqtt-url/)
  })

  test('says where to set what is missing, and refuses what it does not know', () => {
    expect(() => loadConfig({})).toThrow(/"device".*ESPALIER_DEVICE.*--device/)
    expect(() => loadConfig({ file: file({ tread: 1 }) })).toThrow(/"tread".*expected one of device/)
    expect(() => loadConfig({ file: file({ slots: [...slots, ...slots] }) })).toThrow(/same name/)
  })

  test('takes the password from the environment but never from a flag', () => {
    expect(loadConfig({ file: file({}), environment: { ESPALIER_MQTT_PASSWORD: 'p' } }).mqttPassword).toBe('p')
    expect(loadConfig({ file: file({}), flags: { 'mqtt-password': 'p' } }).mqttPassword).toBeUndefined()
  })

  test('gives each setting names of its own', () => {
    const names = SETTINGS.flatMap(({ key }) => [environmentName(key), flagName(key)])
    expect(new Set(names).size).toBe(names.length)
  })
})

test('readConfigFile() says what is wrong with a file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'))
  writeFileSync(join(folder, 'bad.json'), '[1]')
  expect(() => readConfigFile(join(folder, 'absent.json'))).toThrow(/ENOENT/)
  expect(() => readConfigFile(join(folder, 'bad.json'))).toThrow(/expected a JSON object/)
  rmSync(folder, { recursive: true })
})
