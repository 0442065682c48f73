/** Of `node:module`: a page has no packages to look up. */
export function createRequire(_url: string): never {
  throw new Error('Cannot look up a package: a page has none')
}
