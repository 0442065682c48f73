/** What a client did wrong, or cannot have now; answered as it stands. */
export class ApiError extends Error {
  readonly statusCode: number
  readonly code: string

  constructor(statusCode: number, code: string, message: string) {
    super(message)
    this.statusCode = statusCode
    this.code = code
  }
}

export function notFound(what: string, name: string, known: readonly string[]): ApiError {
  const expected = known.length === 0 ? 'one that is known, found none' : `one of ${known.slice(0, 20).join(', ')}`
  return new ApiError(404, 'NOT_FOUND', `Cannot find ${what} "${name}": expected ${expected}`)
}
