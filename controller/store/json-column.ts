import { describeError, StoreError } from '@espalier/shared/errors'
import type { z } from 'zod'

/**
 * Read a column of JSON text.
 *
 * @throws {StoreError} If the text is not of the schema: the row was altered by something else.
 */
export function parseColumn<T>(text: string, schema: z.ZodType<T>, name: string): T {
  try {
    return schema.parse(JSON.parse(text))
  } catch (cause) {
    throw new StoreError(`Cannot read column "${name}": ${describeError(cause)}`, { cause, retryable: false })
  }
}
