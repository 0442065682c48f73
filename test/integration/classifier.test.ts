import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { AgentConfig } from '@espalier/agent/config'
import { type AssembledFamily, assembleFamily, noisePicture } from '@espalier/forge/family/assemble-family'
import { digestOf } from '@espalier/forge/family/digest'
import { writeFamily } from '@espalier/forge/family/write-family'
import { type ModelFile, openModelFile, saveModelFile } from '@espalier/forge/model-file'
import { hoistConstants } from '@espalier/forge/passes/fold'
import { quantiseHalf } from '@espalier/forge/passes/quantise-half'
import { type Configuration, configurationSchema } from '@espalier/shared/configuration'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import { canonicalJson } from '@espalier/shared/manifest/manifest'
import { type Desired, desiredSchema } from '@espalier/shared/messages/controller'
import { birthSchema, eventSchema, reportedSchema, telemetrySchema } from '@espalier/shared/messages/device'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { about, writeModels } from '../unit/forge/build-family.ts'
import { toyClassifier } from '../unit/forge/toy-classifier.ts'
import { FleetEar } from './fleet-ear.ts'
import { startAgent } from './start-agent.ts'
import { startQuietController } from './start-quiet-controller.ts'

const ROOT = join(import.meta.dirname, '../..')
const THIRD_PARTY = join(process.env.ESPALIER_DATA ?? join(ROOT, '../shared/data'), 'models/cifar10_resnet_4b.onnx')
const CLIP = join(ROOT, 'models/clip')
const DEVICE = deviceIdSchema.parse('cam-8')
const SLOT = slotIdSchema.parse('cam0')

let home: string
let families: string
let family: AssembledFamily
let configuration: Configuration
const running: Array<() => Promise<unknown>> = []

/** A model of others where there is one, else one that is as small as can be; and the same with weights of half width. */
async function makeModels(): Promise<Map<string, ModelFile>> {
  const folder = join(home, 'models')
  await mkdir(folder)
  const base = existsSync(THIRD_PARTY)
    ? await openModelFile(THIRD_PARTY)
    : (await writeModels(folder, { base: toyClassifier() })).get('base')!
  const path = join(folder, 'half.onnx')
  const { graph } = quantiseHalf(hoistConstants(base.graph))
  await saveModelFile(path, graph, { pass: 'quantise', parameters: { mode: 'fp16' }, from: base.digest })
  return new Map([
    ['base', base],
    ['half', await openModelFile(path)],
  ])
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'espalier-classifier-'))
  families = join(home, 'families')
  family = await assembleFamily(await makeModels(), about, noisePicture)
  await writeFamily(join(families, 'toy'), family)
  configuration = configurationSchema.parse({
    family: 'toy',
    variant: 'base',
    alpha255: 0,
    mode: 'merged',
    backend: 'wasm',
    threads: 1,
    width: inputSize(family.manifest.input).width,
    height: inputSize(family.manifest.input).height,
    frameRate: 20,
  })
})
afterAll(() => rm(home, { recursive: true, force: true }))
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop()
})

function desired(gen: number, changes: Partial<Configuration>): Desired {
  const rung = { configuration: { ...configuration, ...changes }, rateBps: 0, powerW: 1, utility: 1 }
  return desiredSchema.parse({
    gen,
    telemetryIntervalS: 0.2,
    slots: [{ slot: SLOT, ladder: [rung], lease: { ttlS: 60 }, prices: { lambda: 0, mu: 0 } }],
  })
}

async function startClassifier(
  mqttPort: number,
  sink: object,
  familyDir = join(families, 'toy'),
): Promise<AgentConfig> {
  const { config, stop } = startAgent({
    device: DEVICE,
    dataDir: await mkdtemp(join(home, 'data-')),
    mqttUrl: `mqtt://127.0.0.1:${mqttPort}`,
    slots: [{ slot: SLOT, familyDir, source: { kind: 'images', path: CLIP, frameRate: 20 }, sink }],
    qualityEveryFrames: 3,
  })
  running.push(stop)
  return config
}

async function openEar(): Promise<FleetEar> {
  const ear = new FleetEar(DEVICE, SLOT)
  await ear.open()
  running.push(() => ear.close())
  return ear
}

describe('an agent with a family of classifiers', () => {
  test('counts frames, follows to another variant between two of them, and says what it sees', async () => {
    const ear = await openEar()
    await startClassifier(ear.mqttPort, { kind: 'events' })

    const birth = await ear.until('birth', birthSchema)
    const first = await ear.until('telemetry', telemetrySchema, ({ slots }) => slots[0]!.frames > 5)
    await ear.tell('desired', desired(3, { variant: 'half' }))
    const applied = await ear.until(
      'reported',
      reportedSchema,
      ({ gen, slots }) => gen === 3 && slots[0]!.phase === 'applied',
    )
    const second = await ear.until('telemetry', telemetrySchema, ({ slots }) => (slots[0]!.comparisons ?? 0) > 2)
    const event = await ear.until('event', eventSchema, ({ kind }) => kind === 'classified')

    expect(birth.slots[0]).toMatchObject({ family: 'toy', source: { width: 512, height: 288 } })
    expect(birth.slots[0]!.macsPerSecond).toBeGreaterThan(1e5)
    expect(first.slots[0]!.configuration).toContain('toy/base/a000/')
    expect(applied.slots[0]!.configuration).toEqual({ ...configuration, variant: 'half' })
    const [before, slot] = [first.slots[0]!, second.slots[0]!]
    expect(slot.configuration).toContain('toy/half/')
    expect(slot.frames).toBeGreaterThan(before.frames)
    expect([slot.swaps, slot.unsent, slot.psnrCount]).toEqual([1, 0, 0])
    expect(slot.bits / slot.frames).toBeGreaterThan(8 * 20)
    expect(slot.joules).toBeGreaterThan(slot.idleJoules)
    // Weights of half the width change few answers.
    expect(slot.agreements! / slot.comparisons!).toBeGreaterThan(0.5)
    expect(event).toMatchObject({ slot: SLOT, evidence: { label: expect.any(String), score: expect.any(Number) } })
    expect(
      ear.heard('reported', reportedSchema).flatMap(({ body }) => body.slots.map(({ phase }) => phase)),
    ).not.toContain('refused')
  })

  test('refuses what it cannot run, and a variant that gives other answers than it should, and keeps the old one', async () => {
    const spoilt = join(families, '..', 'spoilt')
    const { golden } = family.manifest
    const zeros = new Uint8Array(family.manifest.output.classes * 4)
    const output = { sha256: digestOf(zeros), bytes: zeros.length }
    const cases = golden.cases.map((each) => (each.variant === 'half' ? { ...each, output } : each))
    const manifest = { ...family.manifest, golden: { ...golden, cases } }
    await mkdir(join(spoilt, 'blobs'), { recursive: true })
    for (const [sha256, data] of [...family.blobs, [output.sha256, zeros] as const])
      await writeFile(join(spoilt, 'blobs', sha256), data)
    await writeFile(join(spoilt, 'manifest.json'), canonicalJson(manifest))
    const ear = await openEar()
    const config = await startClassifier(ear.mqttPort, { kind: 'folder', path: join(home, 'lines') }, spoilt)
    await ear.until('birth', birthSchema)

    for (const [gen, changes, reason] of [
      [1, { alpha255: 9 }, /alpha 9\/255/],
      [2, { width: 640 }, /takes \d+ x \d+/],
      [3, { variant: 'half' }, /golden value 0 is .*expected 0/],
    ] as const) {
      await ear.tell('desired', desired(gen, changes))
      const refused = await ear.until(
        'reported',
        reportedSchema,
        ({ gen: answered, slots }) => answered === gen && slots[0]!.phase === 'refused',
      )
      expect(refused.slots[0]!.reason).toMatch(reason)
      expect(refused.slots[0]!.configuration).toEqual(configuration)
    }
    await ear.until('event', eventSchema, ({ kind }) => kind === 'variant-refused')
    const before = ear.said.length
    await ear.until('telemetry', telemetrySchema, ({ slots }) => slots[0]!.configuration.includes('/base/'), before)
    const sinkPath = config.slots[0]!.sink.kind === 'folder' ? config.slots[0]!.sink.path : ''
    const [file] = await readdir(sinkPath)
    const lines = (await readFile(join(sinkPath, file!), 'utf8')).trim().split('\n')
    expect(JSON.parse(lines[0]!)).toMatchObject({ sequence: 0, index: expect.any(Number), score: expect.any(Number) })
  })

  test('is shown by a controller with its telemetry, and planned with the one variant of which the quality is known', async () => {
    const controller = await startQuietController({
      dataDir: await mkdtemp(join(home, 'controller-')),
      familiesDir: families,
    })
    running.push(() => controller.close())
    const ask = async (path: string) => JSON.parse(await (await fetch(`${controller.url}/api/v1/${path}`)).text())
    await startClassifier(controller.mqttPort, { kind: 'discard' })

    let device = (await ask('devices'))[0]
    while (!(device?.slots[0]?.framesPerSecond > 0)) {
      await delay(100)
      device = (await ask('devices'))[0]
    }
    // On a busy machine it may brake by itself to a lower frame rate.
    expect(device.slots[0]).toMatchObject({
      phase: expect.stringMatching(/^(applied|braked)$/),
      configuration: { family: 'toy', variant: 'base' },
    })
    const { slots } = await ask('plan')
    expect(slots).toMatchObject([{ device: DEVICE, slot: SLOT, why: { predicted: { accuracyPct: 100 } } }])
    expect(slots[0].why.chosen).toContain('toy/base/a000/')
    expect(await ask('families')).toMatchObject([{ family: 'toy', task: 'classification', variants: ['base', 'half'] }])
    expect((await fetch(`${controller.url}/api/v1/devices/${DEVICE}/slots/${SLOT}/frame.png`)).status).toBe(404)
    expect(await ask('health')).toMatchObject({ status: 'ok' })
  })

  test('says which sinks fit when it is given another', async () => {
    await expect(
      (async () => {
        await startClassifier(1, { kind: 'uplink' })
        await running.pop()!()
      })(),
    ).rejects.toThrow(/found "uplink", expected one of events, folder, discard for a family of task classification/)
  })
})
