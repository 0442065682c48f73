import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import sharp from 'sharp'
import { callApi } from '../fleet-api.ts'
import { openChromium } from './open-chromium.ts'
import { NEXT_VERSION, startShownFleet } from './start-shown-fleet.ts'

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

/** Something of each kind: a squeezed site, a rollout under way, rules of which some are true. */
async function makeThingsHappen(url: string): Promise<void> {
  await callApi(url, 'budgets/site:local', { method: 'PUT', body: { rateBps: 45_000 } })
  await callApi(url, 'budgets/fleet', { method: 'PUT', body: { powerW: 40 } })
  const rules = {
    'uplink-nearly-full': { condition: 'site.rateBps > 0.5 budget', severity: 'warning' },
    'draws-much': { condition: 'device.powerW > 4 for 10s', severity: 'info' },
    'camera-lost': { condition: 'device.offline for 5m', severity: 'critical' },
    'rollout-stopped': { condition: 'rollout.stopped', severity: 'critical' },
  }
  for (const [id, body] of Object.entries(rules)) await callApi(url, `alerts/rules/${id}`, { method: 'PUT', body })
}

async function beginRollout(url: string): Promise<string> {
  const families = (await callApi(url, 'families')) as { family: string; version: string; manifestDigest: string }[]
  const { family, manifestDigest } = families.find(({ version }) => version === NEXT_VERSION)!
  const body = { family, manifestDigest, selector: 'site=gate', wavesPct: [50, 100], soakS: 60 }
  return ((await callApi(url, 'rollouts', { method: 'POST', body })) as { id: string }).id
}

async function takeAll(page: Page, url: string, rollout: string): Promise<void> {
  const show = async (hash: string, theme: 'light' | 'dark', ready: string): Promise<void> => {
    await page.emulateMedia({ colorScheme: theme })
    await page.goto(`${url}/${hash}`)
    await page.waitForSelector(ready, { timeout: 60_000 })
    await delay(4000)
  }
  const live = 'figcaption >> text=/^live, decoded/'
  await show('#/', 'light', '.grid-body-row a')
  await keep(page, 'fleet')
  await show('#/', 'dark', '.grid-body-row a')
  await keep(page, 'fleet-dark')
  await show(`#/rollouts/${rollout}`, 'light', '.grid-body-row >> text=/(fetch|verify|warm|trial|committed), /')
  await keep(page, 'rollout')
  await show('#/device/local-1', 'light', live)
  await delay(6000)
  await keep(page, 'device')
  await show('#/device/gate-1?view=pictures', 'dark', `.tiles > :last-child ${live}`)
  await keep(page, 'pictures-dark')
  await show('#/families/kodo', 'light', '.hull')
  await keep(page, 'family')
  await show('#/plan', 'light', '.budget-input')
  await page.getByLabel('Site local, uplink, kbit/s').fill('6')
  await page.getByText(/slots would change$/).waitFor()
  await delay(1000)
  await keep(page, 'plan')
  await show('#/rollouts', 'light', 'tbody tr')
  await keep(page, 'rollouts')
  await show('#/alerts', 'dark', 'tbody tr')
  await keep(page, 'alerts-dark')
  await show('#/audit', 'light', 'tbody tr')
  await keep(page, 'audit')
}

async function run(): Promise<void> {
  const browser = await openChromium('screens')
  if (browser === undefined) return
  await mkdir(SCREENS, { recursive: true })
  const fleet = await startShownFleet()
  try {
    say('two agents send; letting them run, with a squeeze')
    await delay(RECORDED_MS / 3)
    await makeThingsHappen(fleet.url)
    await delay((2 * RECORDED_MS) / 3)
    const rollout = await beginRollout(fleet.url)
    const page = await browser.newPage({ viewport: SIZE })
    await takeAll(page, fleet.url, rollout)
  } finally {
    await browser.close()
    await fleet.stop()
  }
}

await run()
