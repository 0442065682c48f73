import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { openChromium } from 'espalier/bench/open-chromium'
import { NEXT_VERSION, startShownFleet } from 'espalier/bench/start-shown-fleet'
import { callApi } from 'espalier/fleet-api'
import type { Browser, BrowserContext, Page } from 'playwright-core'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

type Fleet = Awaited<ReturnType<typeof startShownFleet>>

const PAGES = {
  fleet: { hash: '#/', ready: '.grid-body-row a' },
  device: { hash: '#/device/local-1', ready: '.picture' },
  family: { hash: '#/families/kodo', ready: '.hull' },
  plan: { hash: '#/plan', ready: '.budget-input' },
  rollouts: { hash: '#/rollouts', ready: 'main h1' },
  rollout: { hash: '#/rollouts/kodo-1', ready: 'main h1' },
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
  const violations = (await page.evaluate(
    'axe.run({ resultTypes: ["violations"] }).then(({ violations }) => violations)',
  )) as Violation[]
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary ?? ''}`))
}

/** What the list of versions calls one. */
async function versionText(page: Page, version: string): Promise<string> {
  const option = page.locator('dialog option', { hasText: ` ${version} ` })
  return (await option.textContent())!
}

describe('the page of operators, on a controller and two agents', async () => {
  const browser: Browser | undefined = await openChromium('the page of operators')
  let fleet: Fleet
  /** One for all pages, as an operator's browser: what does not change is fetched once. */
  let context: BrowserContext

  beforeAll(async () => {
    if (browser === undefined) return
    context = await browser.newContext({ viewport: { width: 1280, height: 900 } })
    fleet = await startShownFleet()
    // Values are read once a rule is about them: the rule that a test makes is then judged as soon as it is there.
    const rule = { condition: 'device.rateBps > 1Gbit/s' }
    await callApi(fleet.url, 'alerts/rules/impossible', { method: 'PUT', body: rule })
  }, 150_000)
  afterAll(async () => {
    await browser?.close()
    await fleet?.stop()
  })

  /** A page that tells of everything that went wrong in it, and of every request that left the controller. */
  async function open(name: PageName) {
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
    return { page, problems, close: () => page.close() }
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

  test('a budget that is edited and put in force changes what its device is told and runs under', async ({ skip }) => {
    if (browser === undefined) return skip()
    const read = async () => {
      const response = await fetch(`${fleet.url}/api/v1/devices/local-1`)
      return (await response.json()) as { desired: { gen: number }; slots: { leaseBps?: number; phase?: string }[] }
    }
    const readBudgets = async () => {
      const response = await fetch(`${fleet.url}/api/v1/budgets`)
      return ((await response.json()) as { budgets: unknown[] }).budgets
    }
    const before = await read()
    const { page, problems, close } = await open('plan')
    const input = page.getByLabel('Site local, uplink, kbit/s')
    await input.fill('30')
    expect(await readBudgets()).toEqual([])
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

  test('names of configurations in a what-if are read whole, on a wide page and on a phone', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('plan')
    await page.getByLabel('Site local, uplink, kbit/s').fill('6')
    const names = page.getByRole('table', { name: 'Slots that would change' }).locator('.mono')
    await names.first().waitFor()
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 })
      const cells = await names.evaluateAll((found) =>
        found.map(({ textContent, parentElement: cell }) => ({
          text: textContent,
          isWhole: cell!.scrollWidth <= cell!.clientWidth && cell!.offsetHeight <= cell!.parentElement!.clientHeight,
        })),
      )
      expect(cells.length).toBeGreaterThanOrEqual(2)
      for (const cell of cells)
        expect(cell, `${width} px`).toEqual({
          text: expect.stringMatching(/^\S+ a\d{3} \d+x\d+@\S+ \w+\d$/),
          isWhole: true,
        })
    }
    await close()
  })

  test('a picture is decoded in the page itself, by what this controller serves, one for each slot', async ({
    skip,
  }) => {
    if (browser === undefined) return skip()
    const { page, problems, close } = await open('device')
    await page.waitForSelector('figcaption >> text=/^live, decoded in this page by/')
    expect(page.workers().length).toBe(1)
    await page.goto(`${fleet.url}/#/device/gate-1`)
    await page.getByRole('button', { name: 'All pictures' }).click()
    const captions = page.locator('.tiles figcaption')
    await expect
      .poll(() => captions.allTextContents(), { timeout: 30_000 })
      .toEqual([expect.stringMatching(/^live, /), expect.stringMatching(/^live, /)])
    // A frame of the clip, not a blank canvas.
    expect(await page.evaluate('document.querySelector(".tiles canvas").width')).toBeGreaterThan(100)
    const shown = await sharp(await page.locator('.tiles canvas').first().screenshot()).stats()
    expect(Math.max(...shown.channels.map(({ stdev }) => stdev))).toBeGreaterThan(10)
    expect(problems).toEqual([])
    await close()
  })

  test('the page of the browser agent may use a camera, and the pages of operators may not', async ({ skip }) => {
    if (browser === undefined) return skip()
    const [agent, operators] = await Promise.all(['agent/', ''].map((path) => fetch(`${fleet.url}/${path}`)))
    for (const { headers } of [agent!, operators!]) {
      expect(headers.get('cross-origin-opener-policy')).toBe('same-origin')
      expect(headers.get('cross-origin-embedder-policy')).toBe('require-corp')
    }
    expect(agent!.headers.get('permissions-policy')).toContain('camera=(self)')
    expect(agent!.headers.get('content-security-policy')).toContain("media-src 'self' blob:")
    const { page, problems, close } = await open('fleet')
    const may = () => page.evaluate('document.featurePolicy.allowsFeature("camera")')
    expect(await may()).toBe(false)
    await page.goto(`${fleet.url}/agent/`)
    await page.waitForSelector('select[name=manifestDigest] option', { state: 'attached' })
    expect([await may(), await page.evaluate('crossOriginIsolated')]).toEqual([true, true])
    expect(problems).toEqual([])
    await close()
  })

  test('a rollout is seen beforehand, begun, paused, resumed and rolled back from its page', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, problems, close } = await open('rollouts')
    await page.getByRole('button', { name: 'New rollout…' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Version').selectOption({ label: await versionText(page, NEXT_VERSION) })
    await dialog.getByLabel('Devices, by label').fill('site=gate')
    await dialog.getByLabel('Ends of the waves').fill('50 100')
    await dialog.getByLabel('for so many minutes').fill('1')
    await dialog.getByText(/^2 slots: wave 1 has \d, wave 2 has \d; 0 run it already\./).waitFor()
    await dialog.getByRole('button', { name: 'Start' }).click()
    await page.waitForURL(/#\/rollouts\/kodo-1$/)
    const state = page.locator('.page-head .status')
    await expect.poll(() => state.textContent()).toBe('running')
    // The agent was ordered, and tells how far it is.
    await page.waitForSelector('.grid-body-row >> text=/(fetch|verify|warm|trial|committed), /')
    for (const [action, result] of [
      ['Pause', 'paused'],
      ['Resume', 'running'],
      ['Roll back', /^rol(ling|led)-back$/],
    ] as const) {
      await page.getByRole('button', { name: `${action}…` }).click()
      await dialog.getByLabel('Reason').fill(`${action}: because`)
      await dialog.getByRole('button', { name: action }).click()
      if (typeof result === 'string') await expect.poll(() => state.textContent()).toBe(result)
      else await expect.poll(() => state.textContent()).toMatch(result)
    }
    await expect.poll(() => state.textContent(), { timeout: 60_000 }).toBe('rolled-back')
    expect(problems).toEqual([])
    await close()
  }, 120_000)

  test('a refusal leaves the dialog open with what was typed, and a rule that is true fires', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('alerts')
    await page.getByRole('button', { name: 'New rule…' }).click()
    const dialog = page.getByRole('dialog')
    await dialog.getByLabel('Name').fill('sends')
    await dialog.getByLabel('Condition').fill('device.wrong > 1')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await dialog.getByText(/device\.wrong/).waitFor()
    await dialog.getByLabel('Condition').fill('device.rateBps > 1')
    await dialog.getByRole('button', { name: 'Save' }).click()
    await page.waitForSelector('tr:has-text("local-1") >> text=warning, firing')
    await page.waitForSelector('.changes >> text=fired')
    await page.getByRole('button', { name: 'Switch off sends' }).click()
    await page.waitForSelector('text=No rule is true of anything.')
    await page.getByRole('button', { name: 'Switch on sends' }).click()
    await page.waitForSelector('tr:has-text("local-1") >> text=warning, firing')
    await close()
  })

  test('the audit tells who set which budget, steered which rollout and wrote which rule', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('audit')
    for (const [what, subject] of [
      ['budget: set', 'site:local'],
      ['rollout: create', 'kodo-1'],
      ['rollout: pause', 'kodo-1'],
      ['rollout: roll-back', 'kodo-1'],
      ['alert-rule: create', 'sends'],
    ] as const)
      await page.locator('tr', { hasText: what }).filter({ hasText: subject }).first().waitFor()
    expect(await page.locator('tbody tr').first().textContent()).toContain('local')
    await page.getByLabel('Kind').selectOption('rollout')
    await expect.poll(() => page.locator('tbody tr', { hasText: 'budget:' }).count()).toBe(0)
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

  test('each version of a family is shown by its own name, and a link goes to one of them', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('family')
    await page.waitForSelector(`.page-head >> text=version ${NEXT_VERSION}`)
    await page.getByRole('navigation', { name: 'Families' }).getByText('kodo', { exact: false }).last().click()
    const shown = page.locator('.page-head [aria-current=page]')
    await expect.poll(() => shown.textContent()).not.toBe(`kodo ${NEXT_VERSION}`)
    const text = await shown.textContent()
    await page.reload()
    await expect.poll(() => shown.textContent()).toBe(text)
    await close()
  })

  test('pausing asks first, and tells what the device answered', async ({ skip }) => {
    if (browser === undefined) return skip()
    const { page, close } = await open('device')
    const dialog = page.getByRole('dialog')
    for (const [button, answer] of [
      ['Pause…', /Pause: (accepted|done)/],
      ['Resume', /Resume: (accepted|done)/],
    ] as const) {
      await page.getByRole('button', { name: button }).click({ timeout: 20_000 })
      if (button === 'Pause…') await dialog.getByRole('button', { name: 'Pause' }).click()
      await page.getByText(answer).waitFor()
    }
    await close()
  })

  test('no page is wider than a phone', async ({ skip }) => {
    if (browser === undefined) return skip()
    const wider: Record<string, number> = {}
    for (const name of NAMES) {
      const { page, close } = await open(name)
      await page.setViewportSize({ width: 390, height: 844 })
      const beyondPx = (await page.evaluate('document.documentElement.scrollWidth - innerWidth')) as number
      if (beyondPx > 0) wider[name] = beyondPx
      await close()
    }
    expect(wider).toEqual({})
  })

  test('no page has a serious or critical violation that axe-core finds, in light and dark', async ({ skip }) => {
    if (browser === undefined) return skip()
    const found: Record<string, string[]> = {}
    for (const name of NAMES) {
      const { page, close } = await open(name)
      for (const theme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme: theme })
        await page.waitForSelector(`html[data-theme=${theme}]`)
        const violations = await findViolations(page)
        if (violations.length > 0) found[`${name}, ${theme}`] = violations
      }
      await close()
    }
    expect(found).toEqual({})
  })
})
