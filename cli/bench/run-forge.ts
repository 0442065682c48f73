import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/** The command as a user calls it. */
const PROGRAM = fileURLToPath(new URL('../../bin/espalier.js', import.meta.url))

export type ForgeOutcome<Report> =
  | { readonly outcome: 'done'; readonly report: Report }
  /** It said that it cannot, and why. */
  | { readonly outcome: 'refused'; readonly reason: string }

/**
 * Run `espalier forge WORDS --json`.
 *
 * @throws {Error} If it ends in any other way than by doing its work or by refusing it in words.
 */
export function runForge<Report>(words: readonly string[]): Promise<ForgeOutcome<Report>> {
  return new Promise((resolve, reject) => {
    const args = [PROGRAM, 'forge', ...words, '--json']
    execFile(process.execPath, args, { maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      if (error === null) {
        resolve({ outcome: 'done', report: JSON.parse(stdout) as Report })
        return
      }
      // A bug shows its class and its stack; only our own errors begin like this.
      const refusal = stderr.split('\n').find((line) => line.startsWith('espalier: Cannot '))
      if (refusal === undefined) reject(error)
      else resolve({ outcome: 'refused', reason: refusal.slice('espalier: '.length) })
    })
  })
}
