import { type Browser, chromium } from 'playwright-core'
import { findChromium } from './browser/chromium.ts'

/** @returns Undefined, after saying so, where this machine has no browser. */
export async function openChromium(forWhat: string): Promise<Browser | undefined> {
  const executablePath = findChromium()
  if (executablePath === undefined) {
    process.stderr.write(`SKIPPED ${forWhat}: no Chromium on the PATH; install the Debian package "chromium"\n`)
    return undefined
  }
  return chromium.launch({
    executablePath,
    headless: true,
    chromiumSandbox: false,
    args: [
      // Or the heap is read in steps of a tenth of itself.
      '--enable-precise-memory-info',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}
