import { build } from 'esbuild'

/**
 * Pack an entry as a page loads it: chunks are fetched when they are imported, so what only Node has may be named in
 * code that a page never reaches.
 */
export async function bundleForBrowser(entry: string, directory: string): Promise<void> {
  await build({
    entryPoints: [entry],
    outdir: directory,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: ['node:*'],
    logLevel: 'error',
  })
}

/** Strip the types of an entry and what lies beside it; packages are found where they are installed. */
export async function bundleForNode(entry: string, directory: string): Promise<void> {
  await build({
    entryPoints: [entry],
    outdir: directory,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
    logLevel: 'error',
  })
}
