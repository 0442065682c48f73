/** What the controller answered instead. */
export class ApiFailure extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * Call the controller's API.
 *
 * @throws {ApiFailure} With the controller's own words; status 0 where it does not answer.
 */
export async function callApi<Answer>(
  path: string,
  init: { method?: string; body?: unknown; signal?: AbortSignal } = {},
): Promise<Answer> {
  const { method = 'GET', body, signal } = init
  const response = await fetch(`/api/v1/${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    ...(signal === undefined ? {} : { signal }),
  }).catch((error: unknown) => {
    if (signal?.aborted) throw error
    throw new ApiFailure(0, 'The controller does not answer.')
  })
  const text = await response.text()
  const json = text === '' ? undefined : (JSON.parse(text) as unknown)
  if (response.ok) return json as Answer
  const message = (json as { error?: { message?: string } } | undefined)?.error?.message
  throw new ApiFailure(response.status, message ?? `The controller answered ${response.status}.`)
}

/** `path?a=1&b=2` without what is undefined or empty. */
export function withQuery(path: string, query: Readonly<Record<string, string | number | undefined>>): string {
  const given = Object.entries(query).flatMap(([key, value]) =>
    value === undefined || value === '' ? [] : [[key, String(value)] as [string, string]],
  )
  return given.length === 0 ? path : `${path}?${new URLSearchParams(given)}`
}
