import { type LargeFleet, measureHeap, scrollThrough, startLargeFleet, timeFirstView } from 'espalier/bench/dashboard'
import { openChromium } from 'espalier/bench/open-chromium'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const DEVICES = 10_000
const SITES = 300

describe('the page of operators, on ten thousand devices', async () => {
  const browser: Browser | undefined = await openChromium('the page of operators on ten thousand devices')
  let fleet: LargeFleet
  let page: Page

  beforeAll(async () => {
    if (browser === undefined) return
    fleet = await startLargeFleet(DEVICES, SITES, { isPlanned: false, measuredEvery: 5 })
    page = await browser.newPage({ viewport: { width: 1440, height: 1000 } })
    const firstMs = await timeFirstView(page, fleet.controller.url, DEVICES)
    console.info(`first view of ${DEVICES} devices: ${firstMs.toFixed(0)} ms; heard in ${fleet.ingestS.toFixed(0)} s`)
  }, 180_000)
  afterAll(async () => {
    await browser?.close()
    await fleet?.close()
  })

  test('has only what is seen in the document, and a heap that does not grow with the fleet', async ({ skip }) => {
    if (browser === undefined) return skip()
    const before = await measureHeap(page)
    const { longTasksMs } = await scrollThrough(page, 20)
    const after = await measureHeap(page)
    console.info(
      `heap ${(before / 1e6).toFixed(1)} MB, ${(after / 1e6).toFixed(1)} MB after all rows; longest task ${Math.max(0, ...longTasksMs).toFixed(0)} ms`,
    )
    expect(await page.locator('.grid-body-row').count()).toBeLessThan(60)
    expect(after).toBeLessThan(60e6)
    await page.waitForSelector('.grid-body-row >> text=cam-09999')
  })

  test('searches, filters and sorts in the controller', async ({ skip }) => {
    if (browser === undefined) return skip()
    await page.goto(`${fleet.controller.url}/#/?health=lost&sort=powerW&order=down&search=pi5`)
    const found = page.locator('[role=status] >> text=/ found$/')
    await expect.poll(() => found.textContent()).not.toBe('10 000 found')
    const count = Number((await found.textContent())!.replaceAll(/\D/g, ''))
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThan(DEVICES / 10)
    const classes = await page.locator('.grid-body-row').evaluateAll((rows) => rows.map((row) => row.textContent))
    expect(classes.every((text) => text?.includes('pi5') && text.includes('lost'))).toBe(true)
  })

  test('answers one request for figures and map, whatever the number of devices', async ({ skip }) => {
    if (browser === undefined) return skip()
    const other = await browser.newPage()
    const asked: string[] = []
    other.on('request', (request) => asked.push(new URL(request.url()).pathname))
    await timeFirstView(other, fleet.controller.url, DEVICES)
    expect(asked.filter((path) => path.startsWith('/api/')).length).toBeLessThan(12)
    expect(asked).not.toContain('/api/v1/devices')
    await other.close()
  })
})
