import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { loadConfig } from '@espalier/controller/config'
import { type RunningController, startController } from '@espalier/controller/main'
import { openFamily } from '@espalier/shared/manifest/open-family'
import { pino } from 'pino'
import type { Browser, Page } from 'playwright-core'
import { DEFAULT_FAMILY_DIR, MODELS_DIR } from '../models.ts'
import { atMost, type Findings } from './checks.ts'
import { openChromium } from './open-chromium.ts'
import type { PageScope } from './page-scope.ts'
import { simulateDevices } from './simulate-devices.ts'
import { traceLongestTask } from './trace-tasks.ts'

/** Files in memory: a commit a message on a disk that others use takes minutes for ten thousand devices, and is not what is measured. */
const MEMORY_DIR = '/dev/shm'
/** Views that are timed; the first one also pays for the browser's and the server's caches and is told apart. */
const VIEWS = 7
const SCROLLS = 60
const LONG_TASK_MS = 100

export interface LargeFleet {
  readonly controller: RunningController
  /** Let every device measure again. */
  readonly measureAgain: () => void
  /** Seconds that taking all first messages in took, and the plan that followed. */
  readonly ingestS: number
  readonly planS: number
  close(): Promise<void>
}

/**
 * A controller that has heard of so many devices, each of which has measured.
 *
 * @param options.isPlanned Whether it has their family, and so plans them all: once, then when it is asked to.
 * @param options.measuredEvery One device of so many tells what its frames cost; taking that in takes most of the time.
 */
export async function startLargeFleet(
  devices: number,
  sites: number,
  options: { isPlanned: boolean; measuredEvery?: number },
): Promise<LargeFleet> {
  const dataDir = await mkdtemp(join(existsSync(MEMORY_DIR) ? MEMORY_DIR : tmpdir(), 'espalier-large-'))
  const { manifest, manifestDigest } = await openFamily(DEFAULT_FAMILY_DIR)
  const config = loadConfig({
    flags: {
      port: 0,
      mqttPort: 0,
      dataDir,
      familiesDir: options.isPlanned ? MODELS_DIR : join(dataDir, 'no-families'),
      planIntervalMs: 600_000,
    },
  })
  const controller = await startController(config, pino({ level: 'silent' }))
  const variants = manifest.variants.map(({ id }) => id)
  const startedMs = performance.now()
  const measureAgain = simulateDevices(
    { devices, sites, family: manifest.family, manifestDigest, variants, measuredEvery: options.measuredEvery ?? 1 },
    controller.ingest.receive,
  )
  const heardMs = performance.now()
  // The plan was asked for by the first birth and is made before anything else is answered.
  await delay(0)
  const plannedMs = performance.now()
  await settle(controller.url)
  return {
    controller,
    measureAgain,
    ingestS: (heardMs - startedMs) / 1000,
    planS: (plannedMs - heardMs) / 1000,
    async close() {
      await controller.close()
      await rm(dataDir, { recursive: true, force: true, maxRetries: 3 })
    },
  }
}

/** Births make the controller speak to every device: wait until it has nothing else to do than to answer. */
async function settle(url: string): Promise<void> {
  for (let tries = 0, quick = 0; tries < 100 && quick < 3; tries++) {
    const startedMs = performance.now()
    await (await fetch(`${url}/api/v1/health`)).text()
    quick = performance.now() - startedMs < 50 ? quick + 1 : 0
    await delay(100)
  }
}

/** From the navigation's beginning until figures, map and the first rows of the list are drawn. */
export async function timeFirstView(page: Page, url: string, devices: number): Promise<number> {
  await page.goto('about:blank')
  await page.goto(`${url}/#/`, { waitUntil: 'commit' })
  const drawnMs = await page.waitForFunction(
    (total) => {
      const { document } = globalThis as unknown as PageScope
      const isDrawn =
        document.querySelectorAll('.grid-body-row a').length > 5 &&
        document.querySelectorAll('.treemap a').length > 5 &&
        document.querySelector('.fleet-health')?.textContent?.includes(total)
      return isDrawn ? performance.now() : undefined
    },
    devices.toLocaleString('en').replaceAll(',', ' '),
    { polling: 'raf', timeout: 60_000 },
  )
  return (await drawnMs.jsonValue()) as number
}

/** Bytes of the page's JavaScript heap, garbage collected first. */
export async function measureHeap(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page)
  await session.send('HeapProfiler.collectGarbage')
  const { usedSize } = await session.send('Runtime.getHeapUsage')
  await session.detach()
  return usedSize
}

/** Scroll through the whole list; what is seen must be drawn before the next step. */
export async function scrollThrough(page: Page, steps: number): Promise<{ longTasksMs: number[]; framesMs: number[] }> {
  return page.evaluate(async (count) => {
    const scope = globalThis as unknown as PageScope
    const longTasksMs: number[] = []
    const framesMs: number[] = []
    const observer = new scope.PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) longTasksMs.push(duration)
    })
    observer.observe({ type: 'longtask' })
    const list = scope.document.querySelector('.grid-scroll')!
    const nextFrame = () => new Promise<number>((resolve) => scope.requestAnimationFrame(resolve))
    for (let step = 1; step <= count; step++) {
      const end = list.scrollHeight - list.clientHeight
      // A jump, then as a wheel does it.
      list.scrollTop = (end * step) / count
      let before = await nextFrame()
      for (let tick = 0; tick < 8; tick++) {
        list.scrollTop += 90
        const now = await nextFrame()
        framesMs.push(now - before)
        before = now
      }
    }
    // Entries are delivered after the task that they tell of.
    await new Promise((resolve) => setTimeout(resolve, 300))
    observer.disconnect()
    return { longTasksMs, framesMs }
  }, steps)
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!

async function measure(browser: Browser, fleet: LargeFleet, devices: number): Promise<Findings> {
  const { url } = fleet.controller
  const page = await browser.newPage({ viewport: { width: 1440, height: 1000 } })
  const coldMs = await timeFirstView(page, url, devices)
  const viewsMs: number[] = []
  for (let view = 0; view < VIEWS; view++) viewsMs.push(await timeFirstView(page, url, devices))
  await delay(3000)
  const heapBytes = await measureHeap(page)
  const { longTasksMs, framesMs } = await scrollThrough(page, SCROLLS)
  // The same while every device speaks at once: the server is busy then, and rows change.
  fleet.measureAgain()
  const busy = await scrollThrough(page, SCROLLS)
  const heapAfterBytes = await measureHeap(page)
  const longestCpuMs = await traceLongestTask(browser, async () => {
    fleet.measureAgain()
    await scrollThrough(page, SCROLLS)
  })
  const rowsInDocument = await page.locator('.grid-body-row').count()
  const longest = Math.max(0, ...longTasksMs, ...busy.longTasksMs)
  return {
    checks: [
      atMost(`first view of ${devices} devices, nothing cached`, coldMs, 2000, 'ms'),
      atMost(`first view of ${devices} devices, median of ${VIEWS}`, median(viewsMs), 2000, 'ms'),
      atMost('JavaScript heap with the list shown', heapBytes / 1e6, 60, 'MB'),
      atMost('JavaScript heap after scrolling through all', heapAfterBytes / 1e6, 60, 'MB'),
      atMost('longest task while scrolling', longest, LONG_TASK_MS, 'ms'),
      atMost('longest task while scrolling, processor time', longestCpuMs, LONG_TASK_MS, 'ms'),
      atMost('rows in the document', rowsInDocument, 60, ''),
    ],
    details: {
      coldMs,
      viewsMs,
      longTasksMs,
      longTasksWhileAllSpeakMs: busy.longTasksMs,
      frameMs: { median: median(framesMs), worst: Math.max(...framesMs) },
      frameWhileAllSpeakMs: { median: median(busy.framesMs), worst: Math.max(...busy.framesMs) },
      ingestS: fleet.ingestS,
      planS: fleet.planS,
    },
  }
}

export async function benchDashboard(): Promise<Findings | undefined> {
  const browser = await openChromium('dashboard')
  if (browser === undefined) return undefined
  const devices = 10_000
  const fleet = await startLargeFleet(devices, 300, { isPlanned: false })
  try {
    return await measure(browser, fleet, devices)
  } finally {
    await browser.close()
    await fleet.close()
  }
}
