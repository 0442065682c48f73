import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { AssembledFamily } from '@espalier/forge/family/assemble-family'
import { writeFamily } from '@espalier/forge/family/write-family'
import { deviceIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { buildFamily } from '../unit/forge/build-family.ts'
import type { GraphSpec } from '../unit/forge/build-graph.ts'
import { randomTensor } from '../unit/forge/build-graph.ts'
import { startAgent } from './start-agent.ts'
import { startQuietController } from './start-quiet-controller.ts'

const ROOT = join(import.meta.dirname, '../..')
const DEVICE = deviceIdSchema.parse('cam-9')
const SLOT = slotIdSchema.parse('door')
const SIDE = 64
const CHANNELS = 32
/** A frame of the first variant is done well within its interval, even on a machine with other work. */
const FRAME_RATE = 2

/** A classifier of some convolutions of one size. @param layers 38 million multiply-accumulates each. */
function deepClassifier(layers: number): GraphSpec {
  const parts = Array.from({ length: layers }, (_, n): Required<Pick<GraphSpec, 'nodes' | 'weights'>> => {
    const [from, channels] = n === 0 ? (['picture', 3] as const) : ([`r${n - 1}`, CHANNELS] as const)
    const attributes = { pads: [1, 1, 1, 1], kernel_shape: [3, 3] }
    return {
      nodes: [
        { op: 'Conv', inputs: [from, `w${n}`], outputs: [`c${n}`], attributes },
        { op: 'Relu', inputs: [`c${n}`], outputs: [`r${n}`] },
      ],
      weights: { [`w${n}`]: randomTensor([CHANNELS, channels, 3, 3], n + 1) },
    }
  })
  return {
    inputs: { picture: [1, 3, SIDE, SIDE] },
    outputs: ['logits'],
    weights: Object.assign({ head: randomTensor([5, CHANNELS], 99) }, ...parts.map(({ weights }) => weights)),
    nodes: [
      ...parts.flatMap(({ nodes }) => nodes),
      { op: 'GlobalAveragePool', inputs: [`r${layers - 1}`], outputs: ['pooled'] },
      { op: 'Flatten', inputs: ['pooled'], outputs: ['flat'] },
      { op: 'Gemm', inputs: ['flat', 'head'], outputs: ['logits'], attributes: { transB: 1 } },
    ],
  }
}

let home: string
const running: Array<() => Promise<unknown>> = []

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'espalier-classifier-plan-'))
  const family = await buildFamily(join(home, 'models'), { base: deepClassifier(8), lean: deepClassifier(1) })
  await writeFamily(join(home, 'families/toy'), judged(family, { base: 90, lean: 80 }))
})
afterAll(() => rm(home, { recursive: true, force: true }))
afterEach(async () => {
  for (const stop of running.splice(0).reverse()) await stop()
})

/** As if held-out pictures had been shown: weights that nobody trained are right by chance alone. */
function judged(family: AssembledFamily, accuracyPct: Readonly<Record<string, number>>): AssembledFamily {
  const variants = family.manifest.variants.map((variant) => ({
    ...variant,
    judged: { pictures: 1000, accuracyPct: accuracyPct[variant.id]!, agreementPct: accuracyPct[variant.id]! },
  }))
  return { ...family, manifest: { ...family.manifest, variants } }
}

async function start() {
  const controller = await startQuietController({
    dataDir: join(home, 'controller'),
    familiesDir: join(home, 'families'),
  })
  running.push(() => controller.close())
  const { stop } = startAgent({
    device: DEVICE,
    dataDir: join(home, 'agent'),
    mqttUrl: `mqtt://127.0.0.1:${controller.mqttPort}`,
    slots: [
      {
        slot: SLOT,
        familyDir: join(home, 'families/toy'),
        source: { kind: 'images', path: join(ROOT, 'models/clip'), frameRate: FRAME_RATE },
        sink: { kind: 'events' },
      },
    ],
    qualityEveryFrames: 1000,
  })
  running.push(stop)
  return controller
}

test('a controller plans an agent that classifies: a cap on the device moves it to the cheaper variant, and its end back', async () => {
  const { url } = await start()
  const ask = async (path: string, init?: RequestInit) => {
    const text = await (await fetch(`${url}/api/v1/${path}`, init)).text()
    return text === '' ? undefined : JSON.parse(text)
  }
  const until = async <T>(what: string, read: () => Promise<T | undefined>): Promise<T> => {
    const deadline = performance.now() + 40_000
    while (performance.now() < deadline) {
      const found = await read().catch(() => undefined)
      if (found !== undefined) return found
      await delay(50)
    }
    throw new Error(`Waited in vain for ${what}: ${JSON.stringify(await ask(`devices/${DEVICE}`))}`)
  }
  const slotOf = async () => (await ask(`devices/${DEVICE}`)).slots[0]
  const runs = (variant: string) =>
    until(variant, async () => {
      const device = await ask(`devices/${DEVICE}`)
      const [slot] = device.slots
      // With little room it may brake by itself to a lower frame rate.
      const isDone = ['applied', 'braked'].includes(slot.phase) && slot.desiredId.includes(`/${variant}/`)
      return isDone && slot.configuration.variant === variant ? device : undefined
    })
  const why = async () => (await ask(`devices/${DEVICE}/why`)).now[0].why

  await runs('base')
  // Until what was believed of the device is what it told.
  await until('telemetry', async () => ((await slotOf()).joulesPerFrame?.dynamic > 0 ? true : undefined))
  await delay(5000)
  const ample = await until('the best variant to be planned', async () => {
    const now = await why()
    return now.binding === 'none' && now.predicted.accuracyPct === 90 ? now : undefined
  })
  expect(ample.predicted.rateBps).toBeLessThan(5000)
  const measured = await until('its latency to be learned', async () => {
    const [now, slot] = [await why(), await slotOf()]
    const ratio = now.predicted.latencyMs / slot.latencyMs.p50
    return ratio > 0.6 && ratio < 1.6 ? slot : undefined
  })
  const { ladder } = (await ask(`devices/${DEVICE}`)).desiredState.slots[0]
  const lean = ladder.find((rung: { configuration: { variant: string } }) => rung.configuration.variant === 'lean')
  expect(lean.powerW).toBeLessThan(ladder[0].powerW)

  // What is drawn beside frames is still being learned: as somebody would, squeeze until it gives way.
  const framesW = FRAME_RATE * measured.joulesPerFrame.dynamic
  const cap = (powerW: number) => {
    const headers = { 'content-type': 'application/json' }
    return ask(`budgets/device:${DEVICE}`, { method: 'PUT', headers, body: JSON.stringify({ powerW }) })
  }
  await until('the cheaper variant', async () => {
    await cap((await why()).predicted.powerW - 0.5 * framesW)
    await delay(500)
    return (await slotOf()).desiredId.includes('/lean/') ? true : undefined
  })
  await runs('lean')
  // This process draws what the test does as well: so little that no quiet moment brings the other one back.
  await cap(1)
  await until('the plan under that', async () => ((await why()).chosen.includes('/lean/') ? true : undefined))
  const squeezed = await why()
  expect(squeezed).toMatchObject({ binding: 'device power', predicted: { accuracyPct: 80 } })
  expect(squeezed.price).toMatch(/about \d+\.\d\d points of accuracy here/)
  const cli = join(ROOT, 'cli/bin/espalier.js')
  const { stdout } = await promisify(execFile)(process.execPath, [cli, 'why', DEVICE, '--api', url])
  expect(stdout).toMatch(/predicted .* 80\.0 % accuracy/)
  expect(stdout).toMatch(/held by +device power/)

  await ask(`budgets/device:${DEVICE}`, { method: 'DELETE' })
  await runs('base')
  expect(JSON.stringify(await ask(`devices/${DEVICE}/events`))).not.toContain('variant-refused')
}, 150_000)
