/** What an API answered: its status, and its JSON where there is any. */
export interface Answer {
  readonly status: number
  // biome-ignore lint/suspicious/noExplicitAny: tests read answers of every shape
  readonly json: any
}

/** @param url Of a controller. @returns A function that calls its API, with JSON where there is a body. */
export function apiCaller(url: string) {
  return async (path: string, method = 'GET', body?: unknown): Promise<Answer> => {
    const response = await fetch(`${url}/api/v1/${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    })
    const text = await response.text()
    return { status: response.status, json: text === '' ? undefined : JSON.parse(text) }
  }
}
