import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '@espalier/controller/config'
import { type RunningController, startController } from '@espalier/controller/main'
import { pino } from 'pino'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Chromium, findChromium, launchChromium } from '../../cli/bench/browser/chromium.ts'

const ROOT = join(import.meta.dirname, '../..')
const PAGE = join(ROOT, 'agent/dist/page')
const DEVICE = 'phone-1'

const chromium = findChromium()
if (chromium === undefined)
  console.warn('SKIPPED browser agent: no Chromium on the PATH; install the Debian package "chromium"')
if (!existsSync(join(PAGE, 'index.html'))) throw new Error('Cannot test the browser agent: run "npm run build" before')

interface DeviceView {
  readonly id: string
  readonly state: string
  readonly frames: number
  readonly dropped: number
  readonly bits: number
  readonly phase?: string
  readonly psnrDb?: number
  readonly configurationId?: string
  readonly joulesPerFrame?: { readonly source: string; readonly scope: string }
}

/** Runs in the page: the state that the agent keeps there. */
async function readTwin(name: string): Promise<{ gen: number; slots: { ladder: unknown[] }[] }> {
  const opened = <Value>(request: IDBRequest<Value>) =>
    new Promise<Value>((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  const database = await opened(indexedDB.open(name))
  const file: Uint8Array = await opened(
    database
      .transaction('files')
      .objectStore('files')
      .get(`state/${name.replace('espalier-agent-', '')}/twin.json`),
  )
  database.close()
  return JSON.parse(new TextDecoder().decode(file))
}

describe.skipIf(chromium === undefined)('an agent in a browser', { timeout: 180_000 }, () => {
  let folder: string
  let controller: RunningController
  let browser: Chromium
  let page: Page

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'espalier-page-agent-'))
    const flags = {
      port: 0,
      mqttPort: 0,
      planIntervalMs: 500,
      dataDir: join(folder, 'data'),
      familiesDir: join(ROOT, 'models'),
      agentPageDir: PAGE,
    }
    controller = await startController(loadConfig({ flags }), pino({ level: 'silent' }))
    browser = await launchChromium(chromium!)
    // Half of the cores are the agent's: with four it runs two threads, which need shared memory.
    await browser.context.addInitScript(() =>
      Object.defineProperty(Navigator.prototype, 'hardwareConcurrency', { get: () => 4 }),
    )
  })
  afterAll(async () => {
    await browser?.close()
    await controller?.close()
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })

  const api = async <Answer>(path: string, init?: RequestInit): Promise<Answer> => {
    const response = await fetch(`${controller.url}/api/v1/${path}`, init)
    if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
    return (await response.json()) as Answer
  }
  const viewDevice = (): Promise<DeviceView | undefined> => api<DeviceView>(`devices/${DEVICE}`).catch(() => undefined)

  async function until(what: string, isIt: (device: DeviceView) => boolean): Promise<DeviceView> {
    const deadline = performance.now() + 80_000
    let view: DeviceView | undefined
    while (performance.now() < deadline) {
      view = await viewDevice()
      if (view !== undefined && isIt(view)) return view
      await delay(100)
    }
    const [summary, problem, messages] = await Promise.all(
      ['#summary', '#error', '#messages'].map((selector) => page.textContent(selector)),
    )
    throw new Error(
      `Waited in vain for ${what}: ${JSON.stringify(view)}; the page says "${summary}", "${problem}", "${messages}"`,
    )
  }

  const alphaOf = ({ configurationId }: DeviceView): number => Number(/\/a(\d{3})\//.exec(configurationId ?? '')?.[1])

  async function openPage(address: string): Promise<void> {
    page = await browser.context.newPage()
    page.on('pageerror', (error) => console.warn(`Chromium: ${error.message}`))
    page.on('console', (message) => {
      if (message.type() === 'error') console.warn(`Chromium: ${message.text()}`)
    })
    await page.goto(`${controller.url}${address}`)
    // Not by a function: the page's policy does not let one be made of text.
    await page.waitForSelector('select[name=manifestDigest] option', { state: 'attached' })
  }

  test('joins the fleet, sends frames that decode, and swaps alpha when its site has less', async () => {
    await openPage(`/agent?device=${DEVICE}&site=shop&source=clip&frameRate=2&backend=wasm`)
    expect(await page.evaluate('globalThis.crossOriginIsolated')).toBe(true)
    await page.click('button[type=submit]')
    const working = await until('frames', ({ frames, phase }) => frames >= 3 && phase === 'applied')
    expect(working.configurationId).toMatch(/\/wasm2$/)
    expect(working).toMatchObject({
      state: 'ready',
      joulesPerFrame: { source: 'model:utilisation', scope: 'modelled' },
    })

    const frame = await fetch(`${controller.url}/api/v1/devices/${DEVICE}/slots/cam0/frame.png`)
    expect(frame.status).toBe(200)
    const { width, height } = await sharp(Buffer.from(await frame.arrayBuffer())).metadata()
    // The clip's size, or half of it: the plan may have changed since.
    expect(['512x288', '256x144']).toContain(`${width}x${height}`)

    const judged = await until('a quality sample', ({ psnrDb }) => psnrDb !== undefined)
    expect(judged.psnrDb).toBeGreaterThan(20)

    const before = alphaOf(working)
    await api('budgets/site:shop', {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ rateBps: 30_000 }),
    })
    // Other rungs may come in between: the plan learns what this scene takes.
    const squeezed = await until('a higher alpha', (device) => alphaOf(device) > before && device.phase !== 'starting')
    await until('frames at less', ({ frames }) => frames >= squeezed.frames + 3)
    expect(await page.textContent('[data-figure=configuration]')).toContain('kodo/')
    expect(await page.textContent('#error')).toBe('')
  })

  test('takes no frames while nobody sees its page, says that it sleeps, and counts what was due as dropped', async () => {
    const setVisible = (state: 'hidden' | 'visible') =>
      page.evaluate((wanted) => {
        Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => wanted })
        document.dispatchEvent(new Event('visibilitychange'))
      }, state)
    await setVisible('hidden')
    const asleep = await until('sleep', ({ state }) => state === 'sleeping')
    // What was on its way and in the queue is done first; the slowest plan has a frame every 2.5 s.
    let last = { frames: asleep.frames, atMs: performance.now() }
    const still = await until('stillness', ({ frames }) => {
      if (frames !== last.frames) last = { frames, atMs: performance.now() }
      return performance.now() - last.atMs > 6000
    })
    expect(still.state).toBe('sleeping')
    await setVisible('visible')
    const awake = await until('frames again', ({ state, frames }) => state === 'ready' && frames > still.frames)
    expect(awake.dropped).toBeGreaterThan(still.dropped)
  })

  test('has no barrier that axe finds, while it runs', async () => {
    // Evaluated and not added as a script: the page's policy takes scripts of the controller alone.
    await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
    const violations = await page.evaluate(
      'axe.run().then(({ violations }) => violations.map(({ id, nodes }) => id + ": " + nodes[0].html))',
    )
    expect(violations).toEqual([])
  })

  test('remembers over a reload who it is and what it was told, and says goodbye', async () => {
    const { reported } = await api<{ reported: { gen: number } }>(`devices/${DEVICE}`)
    await page.close()
    await until('the loss', ({ state }) => state === 'offline' || state === 'lost')
    await openPage('/agent')
    expect(await page.inputValue('input[name=device]')).toBe(DEVICE)
    const twin = await page.evaluate(readTwin, `espalier-agent-${DEVICE}`)
    expect(twin.gen).toBeGreaterThanOrEqual(reported.gen)
    expect(twin.slots[0]?.ladder.length).toBeGreaterThan(0)
    // This browser's camera shows a test picture.
    await page.selectOption('select[name=source]', 'camera-user')
    await page.click('button[type=submit]')
    await until('frames', ({ state, frames }) => state === 'ready' && frames > 0)
    const { birth } = await api<{ birth: { slots: { source: { kind: string } }[] } }>(`devices/${DEVICE}`)
    expect(birth.slots[0]?.source.kind).toBe('camera')
    await page.click('#stop')
    await until('a goodbye', ({ state }) => state === 'offline')
  })
})
