import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { openChromium } from 'espalier/bench/open-chromium'
import { startShownFleet } from 'espalier/bench/start-shown-fleet'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

type Fleet = Awaited<ReturnType<typeof startShownFleet>>

const PAGES = {
  fleet: { hash: '#/', ready: '.grid-body-row a' },
  device: { hash: '#/device/local-1', ready: '.picture' },
  family: { hash: '#/families/kodo', ready: '.hull' },
  plan: { hash: '#/plan', ready: '.budget-input' },
  rollouts: { hash: '#/rollouts', ready: 'main h1' },
  alerts: { hash: '#/alerts', ready: 'main h1' },
  audit: { hash: '#/audit', ready: 'main h1' },
} as const
type PageName = keyof typeof PAGES
const NAMES = Object.keys(PAGES) as PageName[]

interface Violation {
  readonly id: string
  readonly impact: string | null
  readonly nodes: readonly { readonly html: string; readonly failureSummary?: string }[]
}

const axeSource = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe-core finds that keeps people out: serious or critical. */
async function findViolations(page: Page): Promise<string[]> {
  // Sent through the debugger: the page's own policy lets no script in from elsewhere.
  await page.evaluate(axeSource)
  const violations = (await page.evaluate('axe.run().then(({ violations }) => violations)')) as Violation[]
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary ?? ''}`))
}

describe('the page of operators, on a controller and two agents', async () => {
  const browser: Browser | undefined = await openChromium('the page of operators')
  let fleet: Fleet

  beforeAll(async () => {
    if (browser !== undefined) fleet = await startShownFleet()
  }, 150_000)
  afterAll(async () => {
    await browser?.close()
    await fleet?.stop()
  })

  /** A page that tells of everything that went wrong in it, and of every request that left the controller. */
  async function open(name: PageName, colorScheme: 'light' | 'dark' = 'light') {
    const context = await browser!.newContext({ colorScheme, viewport: { width: 1280, height: 900 } })
    const page = await context.newPage()
    const problems: string[] = []
    page.on('pageerror', (error) => problems.push(`error: ${error.message}`))
    page.on('console', (message) => {
      // What this controller has not is shown as such; the browser notes the 404 all the same.
      if (message.type() === 'error' && !message.text().includes('404')) problems.push(message.text())
    })
    page.on('request', (request) => {
      const url = request.url()
      if (!url.startsWith(fleet.url) && !url.startsWith('data:') && !url.startsWith('blob:'))
        problems.push(`went to ${url}`)
    })
    await page.goto(`${fleet.url}/${PAGES[name].hash}`)
    await page.waitForSelector(PAGES[name].ready)
    return { page, problems, close: () => context.close() }
  }

  test('every page draws itself without an error, a breach of its policy, or a request to elsewhere', async ({
    skip,
  }) => {
    if (browser === undefined) return skip()
    for (const name of NAMES) {
      const { page, problems, close } = await open(name)
      await page.waitForSelector('.status[data-kind="ok"] >> text=live')
      expect(problems, name).toEqual([])
      expect(await page.title()).toMatch(/ – Espalier$/)
      await close()
    }
  })

  test('no page has a serious or critical violation that axe-core finds, in light and dark', async ({ skip }) => {
    if (browser === undefined) return skip()
    const found: Record<string, string[]> = {}
    for (const name of NAMES)
      for (const theme of ['light', 'dark'] as const) {
        const { page, close } = await open(name, theme)
        await page.waitForTimeout(500)
        expect(await page.evaluate('document.documentElement.dataset.theme')).toBe(theme)
        const violations = await findViolations(page)
        if (violations.length > 0) found[`${name}, ${theme}`] = violations
        await close()
      }
    expect(found).toEqual({})
  })

  test('a budget that is edited and put in force changes what its device is told and runs under', async ({ skip }) => {
    if (browser === undefined) return skip()
    const read = async () => {
      const response = await fetch(`${fleet.url}/api/v1/devices/local-1`)
      return (await response.json()) as { desired: { gen: number }; slots: { leaseBps?: number; phase?: string }[] }
    }
    const before = await read()
    const { page, problems, close } = await open('plan')
    const input = page.getByLabel('Site local, uplink, kbit/s')
    await input.fill('30')
    expect((await read()).desired.gen).toBe(before.desired.gen)
    await page.getByRole('button', { name: 'Put in force…' }).click()
    const dialog = page.getByRole('dialog')
    expect(await dialog.textContent()).toContain('no budget → 30 kbit/s')
    await dialog.getByRole('button', { name: 'Put in force' }).click()
    await page.waitForSelector('text=In force.')
    await expect
      .poll(async () => (await read()).slots[0]!.leaseBps, { timeout: 20_000 })
      .toSatisfy((lease: number | undefined) => lease !== undefined && lease <= 0.97 * 30_000)
    expect((await read()).desired.gen).toBeGreaterThan(before.desired.gen)
    expect(problems).toEqual([])
    await close()
  })

  test('what a device answers to a command is told beside the buttons', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('device')
    await page.getByRole('button', { name: 'Key frame' }).click()
    await page.waitForSelector('text=/Key frame: (accepted|done|rejected)/')
    await close()
  })

  test('arrow keys go through the list, and a link brings the same question back', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('fleet')
    await page.getByLabel('Search').fill('gate')
    await page.waitForSelector('text=1 found')
    expect(page.url()).toContain('search=gate')
    await page.goto('about:blank')
    await page.goto(`${fleet.url}/#/?sort=powerW&order=down`)
    await page.waitForSelector('text=2 found')
    await page.locator('.grid-scroll').focus()
    await page.keyboard.press('End')
    await expect.poll(() => page.evaluate('document.activeElement.closest("[data-index]")?.dataset.index')).toBe('1')
    await page.keyboard.press('Enter')
    await page.waitForSelector('.picture')
    await close()
  })
})
