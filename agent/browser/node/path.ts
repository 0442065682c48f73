/** Of `node:path`, what the agent's parts use: addresses of a page have slashes alone. */
export function join(...parts: readonly string[]): string {
  const path = parts.filter((part) => part !== '').join('/')
  return path.replaceAll(/(?<!:)\/{2,}/g, '/').replaceAll(/(^|\/)\.\//g, '$1')
}

/** Addresses of families are whole already. */
export const resolve = (path: string): string => path

export const dirname = (path: string): string => path.replace(/\/[^/]*$/, '')
