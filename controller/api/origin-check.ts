import { isIP } from 'node:net'

/**
 * Whether a request may have come from a page of this controller, or from no page at all. A page elsewhere can reach
 * a loopback API in two ways: under its own name that was made to resolve to 127.0.0.1 (then `Host` is a foreign name;
 * an IP address cannot be made to resolve), and by sending across origins (then `Origin` differs from `Host`).
 *
 * @returns What is wrong; undefined if nothing is.
 */
export function findForeignOrigin(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  configuredHost: string,
): string | undefined {
  const { host, origin } = headers
  if (typeof host !== 'string') return 'found no Host header'
  const name = hostName(`http://${host}`)
  if (name === undefined) return `found Host "${host}"`
  if (isIP(name) === 0 && name !== 'localhost' && name !== configuredHost)
    return `found Host "${host}", expected an address, "localhost" or "${configuredHost}"`
  if (headers['sec-fetch-site'] === 'cross-site') return 'found a request from a page of another site'
  if (typeof origin !== 'string') return undefined
  return URL.canParse(origin) && new URL(origin).host === new URL(`http://${host}`).host
    ? undefined
    : `found Origin "${origin}", expected that of "${host}"`
}

function hostName(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : undefined
}
