import { setTimeout as delay } from 'node:timers/promises'

/** Longer than anything takes that a test waits for on a busy machine. */
const PATIENCE_MS = 30_000

/** Ask again and again until there is an answer. @throws {Error} If there is none for a long time. */
export async function until<T>(what: string, read: () => Promise<T | undefined> | T | undefined): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  while (performance.now() < deadline) {
    const found = await read()
    if (found !== undefined) return found
    await delay(20)
  }
  throw new Error(`Waited in vain for ${what}`)
}
