import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as delay } from 'node:timers/promises'

/** Restarts follow at once, then back off to this, so that a program that cannot start does not spin. */
const MAX_BACKOFF_MS = 2000
const GRACE_MS = 5000

export interface Program {
  readonly name: string
  readonly script: string
  readonly args: readonly string[]
  /** Of Node. */
  readonly flags?: readonly string[]
}

export interface SupervisedProgram {
  readonly name: string
  /** Undefined between a death and the restart. */
  pid(): number | undefined
  restarts(): number
  /** Ask it to end, wait, and kill it if it does not. */
  stop(): Promise<void>
}

/**
 * Keep a Node program running: start it again whenever it ends, until stopped.
 *
 * @param onLine Called with each line that it prints, on either stream.
 */
export function supervise(program: Program, onLine: (line: string) => void): SupervisedProgram {
  const stopping = new AbortController()
  let child: ChildProcess | undefined
  let restarts = 0

  const runOnce = async (): Promise<void> => {
    // A group of its own: Ctrl-C reaches this process alone, which then ends its programs in order.
    const running = spawn(process.execPath, [...(program.flags ?? []), program.script, ...program.args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    })
    child = running
    for (const stream of [running.stdout, running.stderr]) {
      let rest = ''
      stream.setEncoding('utf8').on('data', (text: string) => {
        const lines = (rest + text).split('\n')
        rest = lines.pop() ?? ''
        for (const line of lines) onLine(line)
      })
    }
    await new Promise<void>((resolve) => {
      running.once('exit', () => resolve())
      running.once('error', (error) => {
        onLine(`Cannot start "${program.name}": ${error.message}`)
        resolve()
      })
    })
    child = undefined
  }

  const running = (async () => {
    let backoffMs = 100
    while (!stopping.signal.aborted) {
      const started = performance.now()
      await runOnce()
      if (stopping.signal.aborted) return
      restarts++
      backoffMs = performance.now() - started > 10_000 ? 100 : Math.min(MAX_BACKOFF_MS, backoffMs * 2)
      await delay(backoffMs, undefined, { signal: stopping.signal }).catch(() => undefined)
    }
  })()

  return {
    name: program.name,
    pid: () => child?.pid,
    restarts: () => restarts,
    async stop() {
      stopping.abort()
      child?.kill('SIGTERM')
      const killer = setTimeout(() => child?.kill('SIGKILL'), GRACE_MS)
      await running
      clearTimeout(killer)
    },
  }
}
