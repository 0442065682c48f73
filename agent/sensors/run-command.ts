import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import { readText, type SystemFiles } from './system-files.ts'

/**
 * What a program prints on standard output.
 *
 * @throws {StoreError} If it is not there, fails or takes longer than two seconds (a firmware mailbox can hang).
 */
export type CommandRunner = (program: string, ...args: readonly string[]) => Promise<string>

const TIMEOUT_MS = 2000

export const runCommand: CommandRunner = (program, ...args) =>
  new Promise((resolve, reject) => {
    execFile(program, args, { timeout: TIMEOUT_MS, killSignal: 'SIGKILL' }, (cause, stdout) => {
      if (cause === null) return resolve(stdout)
      const found = cause.killed ? `no answer in ${TIMEOUT_MS} ms` : (cause.message.split('\n')[1] ?? cause.message)
      reject(
        new StoreError(`Cannot run "${[program, ...args].join(' ')}": found ${found}, expected its output`, {
          cause,
          retryable: cause.code !== 'ENOENT',
        }),
      )
    })
  })

/** Programs of this machine; of a copied tree, what they answered there. @param root Prefix of system paths. */
export const commandsOf = (files: SystemFiles, root: string, ownCommands: CommandRunner = runCommand): CommandRunner =>
  root === '/' ? ownCommands : recordedCommands(files, root)

/** Answers from `commands/<program>_<argument>.txt` of a copied tree, so that a board can be looked at elsewhere. */
export function recordedCommands(files: SystemFiles, root: string): CommandRunner {
  return async (program, ...args) => readText(files, join(root, 'commands', `${[program, ...args].join('_')}.txt`))
}
