import { computed, signal } from '@preact/signals'

/** Where the page is: `#/device/cam-1?slot=cam0`. Everything that a link should bring back stands in it. */
export interface Route {
  /** Decoded parts of the path. */
  readonly path: readonly string[]
  readonly query: Readonly<Record<string, string>>
}

function parseHash(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?')
  return {
    path: path
      .split('/')
      .filter((part) => part !== '')
      .map(decodeURIComponent),
    query: Object.fromEntries(new URLSearchParams(query)),
  }
}

const hash = signal(location.hash)
addEventListener('hashchange', () => {
  hash.value = location.hash
})

export const route = computed(() => parseHash(hash.value))

/** @param query What is undefined or empty is left out. */
export function linkTo(path: readonly string[], query: Readonly<Record<string, string | undefined>> = {}): string {
  const given = Object.entries(query).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && entry[1] !== '',
  )
  const search = new URLSearchParams(given).toString()
  return `#/${path.map(encodeURIComponent).join('/')}${search === '' ? '' : `?${search}`}`
}

/** Change the query of the present page, without a step in the history. */
export function setQuery(changes: Readonly<Record<string, string | undefined>>): void {
  const { path, query } = route.value
  history.replaceState(null, '', linkTo(path, { ...query, ...changes }))
  hash.value = location.hash
}
