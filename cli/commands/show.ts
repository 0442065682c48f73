import { describeError } from '@espalier/shared/errors'
import { InvalidArgumentError } from 'commander'

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

/** Print for people, or one JSON document. A failure prints its reason and sets exit code 1. */
export async function show<T>(
  options: { readonly json?: true },
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

/** Units are checked while the command line is read: wrong use is exit code 2, like an unknown option. */
export function quantity(parse: (text: string) => number): (text: string) => number {
  return (text) => {
    try {
      return parse(text)
    } catch (error) {
      throw new InvalidArgumentError(describeError(error))
    }
  }
}
