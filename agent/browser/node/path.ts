/** Of `node:path`, what the agent's parts use: addresses of a page have slashes alone. */
export function join(...parts: readonly string[]): string {
  let path = parts.filter((part) => part !== '').join('/')
  path = path.replaceAll(/(?<!:)\/{2,}/g, '/').replaceAll(/(^|\/)\.\//g, '$1')
  // `a/b/..` is `a`.
  while (/(^|\/)[^/.]+\/\.\.(\/|$)/.test(path)) path = path.replace(/(^|\/)[^/.]+\/\.\.(\/|$)/, '$1')
  return path.length > 1 ? path.replace(/\/$/, '') : path
}

/** From a folder to a path, through what both have in common. */
export function relative(from: string, to: string): string {
  const [ours, theirs] = [from.split('/'), to.split('/')]
  let shared = 0
  while (shared < ours.length && ours[shared] === theirs[shared]) shared++
  return [...ours.slice(shared).map(() => '..'), ...theirs.slice(shared)].join('/')
}

/** Addresses of families are whole already. */
export const resolve = (...parts: readonly string[]): string => join(...parts)

export const dirname = (path: string): string => path.replace(/\/[^/]*$/, '')
