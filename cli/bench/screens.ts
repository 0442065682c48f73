import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { callApi } from '../fleet-api.ts'
import { openChromium } from './open-chromium.ts'
import { startShownFleet } from './start-shown-fleet.ts'

/** `npm run -s screens`: pictures of every page from a controller and two agents that run, for docs/results/dashboard.md. */

const SCREENS = fileURLToPath(new URL('../../../docs/results/screens', import.meta.url))
const SIZE = { width: 1440, height: 1000 }
const MAX_BYTES = 120_000
/** So that there is something to see over time. */
const RECORDED_MS = 75_000
/** As a JPEG would begin to show its blocks; lowered until the file is small enough. */
const QUALITIES = [82, 70, 55, 40, 28]

const say = (text: string): void => void process.stderr.write(`screens: ${text}\n`)

async function keep(page: Page, name: string): Promise<void> {
  const png = await page.screenshot({ fullPage: true })
  for (const quality of QUALITIES) {
    const webp = await sharp(png).webp({ quality, effort: 6, smartSubsample: true }).toBuffer()
    if (webp.length > MAX_BYTES && quality !== QUALITIES.at(-1)) continue
    await writeFile(join(SCREENS, `${name}.webp`), webp)
    say(`${name}.webp, ${Math.round(webp.length / 1000)} kB`)
    return
  }
}

async function takeAll(page: Page, url: string): Promise<void> {
  const show = async (hash: string, theme: 'light' | 'dark' = 'light', ready = 'main h1'): Promise<void> => {
    await page.emulateMedia({ colorScheme: theme })
    await page.goto(`${url}/${hash}`)
    await page.waitForSelector(ready)
    await delay(4000)
  }
  await show('#/', 'light', '.grid-body-row a')
  await keep(page, 'fleet')
  await show('#/', 'dark', '.grid-body-row a')
  await keep(page, 'fleet-dark')
  await show('#/device/local-1', 'light', '.picture img, .picture canvas')
  await delay(6000)
  await keep(page, 'device')
  await show('#/families/kodo', 'light', '.hull')
  await keep(page, 'family')
  await show('#/plan', 'light', '.budget-input')
  const limit = page.getByLabel('Site local, uplink, kbit/s')
  await limit.fill('25')
  await delay(3000)
  await keep(page, 'plan')
  for (const name of ['rollouts', 'alerts', 'audit']) {
    await show(`#/${name}`)
    await keep(page, name)
  }
}

async function run(): Promise<void> {
  const browser = await openChromium('screens')
  if (browser === undefined) return
  await mkdir(SCREENS, { recursive: true })
  const fleet = await startShownFleet()
  try {
    say('two agents send; letting them run, with a squeeze')
    await delay(RECORDED_MS / 3)
    await callApi(fleet.url, 'budgets/site:local', { method: 'PUT', body: { rateBps: 45_000 } })
    await callApi(fleet.url, 'budgets/fleet', { method: 'PUT', body: { powerW: 40 } })
    await delay((2 * RECORDED_MS) / 3)
    const page = await browser.newPage({ viewport: SIZE })
    await takeAll(page, fleet.url)
  } finally {
    await browser.close()
    await fleet.stop()
  }
}

await run()
