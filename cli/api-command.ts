import { describeError } from '@espalier/shared/errors'
import { type Command, InvalidArgumentError, Option } from 'commander'

/** Options that every command has which asks a controller. */
export interface ApiOptions {
  readonly api: string
  readonly json?: true
}

/** Add them, and our exit codes. */
export function withApi(command: Command): Command {
  return (
    command
      .addOption(
        new Option('--api <url>', 'where the controller answers; may hold a name and password')
          .env('ESPALIER_API')
          .default('http://127.0.0.1:8080'),
      )
      .option('--json', 'print one JSON document')
      // Commander's own code for wrong use is 1, which here means that the controller failed.
      .exitOverride((error) => {
        process.exit(error.exitCode === 0 ? 0 : 2)
      })
  )
}

/** Print for people, or one JSON document. A failure prints its reason and sets exit code 1. */
export async function show<T>(
  options: Pick<ApiOptions, 'json'>,
  read: () => Promise<T>,
  format: (answer: T) => string,
): Promise<void> {
  try {
    const answer = await read()
    process.stdout.write(`${options.json ? JSON.stringify(answer ?? null, undefined, 2) : format(answer)}\n`)
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`)
    process.exitCode = 1
  }
}

/** Columns as wide as their widest cell; the last is not padded. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** Arguments are checked while the command line is read: wrong use is exit code 2, like an unknown option. */
export function argument<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError(describeError(error))
    }
  }
}

const SECONDS = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** @throws {SyntaxError} If the text is no duration. @example parseDuration('10m') // 600 */
export function parseDuration(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)([smhd])$/.exec(text)
  if (match === null) throw new SyntaxError(`Cannot read duration "${text}": expected e.g. "30s", "10m", "2h" or "1d"`)
  return Number(match[1]) * SECONDS[match[2] as keyof typeof SECONDS]
}

/** The same time for everybody who reads it, to the second. */
export const formatTime = (iso: string): string => `${iso.slice(0, 19).replace('T', ' ')}Z`
