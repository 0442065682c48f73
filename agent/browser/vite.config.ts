import { fileURLToPath } from 'node:url'
import { defineConfig, type Plugin } from 'vite'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

/** Where the agent's program meets Node: each edge has a counterpart that a browser can keep. */
const COUNTERPARTS: ReadonlyArray<readonly [pattern: RegExp, counterpart: string]> = [
  [/^node:fs$/, './node/fs.ts'],
  [/^node:fs\/promises$/, './node/fs-promises.ts'],
  [/^node:path$/, './node/path.ts'],
  [/^node:os$/, './node/os.ts'],
  [/^node:url$/, './node/url.ts'],
  [/^node:module$/, './node/module.ts'],
  [/^node:crypto$/, './node/crypto.ts'],
  [/^node:child_process$/, './node/child-process.ts'],
  [/^node:timers\/promises$/, './node/timers-promises.ts'],
  [/\/this-machine\.ts$/, './this-page.ts'],
  [/\/resize-picture\.ts$/, './resize-picture.ts'],
  [/\/decode-picture\.ts$/, './decode-picture.ts'],
  [/^mqtt$/, './node/mqtt.ts'],
  [/\/store\/disk\.ts$/, './page-disk.ts'],
  [/\/(store\/)?http-get\.ts$/, './page-http.ts'],
  // Without kernels that WASM sessions never call: half as much to fetch. WebGPU has its own.
  [/^onnxruntime-web$/, 'onnxruntime-web/wasm'],
]

function counterparts(): Plugin {
  return {
    name: 'espalier-counterparts',
    enforce: 'pre',
    async resolveId(source, importer) {
      const found = COUNTERPARTS.find(([pattern]) => pattern.test(source))
      if (found === undefined) return undefined
      const [, counterpart] = found
      if (!counterpart.startsWith('.')) return this.resolve(counterpart, importer, { skipSelf: true })
      const path = here(counterpart)
      // A counterpart names what it stands for.
      return importer === path ? undefined : path
    },
  }
}

/** Files that ask more of a timer than a browser's number can do get Node's global timers from their counterpart. */
function timers(): Plugin {
  const ofAgent = here('..')
  return {
    name: 'espalier-timers',
    enforce: 'pre',
    transform(code, id) {
      const isOurs = id.startsWith(ofAgent) && !id.startsWith(here('.')) && /\.(refresh|unref)\(\)/.test(code)
      if (!isOurs) return undefined
      const names = ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval']
      const used = names.filter((name) => new RegExp(`(?<![.\\w])${name}\\(`).test(code))
      // On the first line: positions stay what they are.
      return `import { ${used.join(', ')} } from ${JSON.stringify(here('./node/timers.ts'))}; ${code}`
    },
  }
}

export default defineConfig({
  root: here('.'),
  base: '/agent/',
  plugins: [counterparts(), timers()],
  worker: { format: 'es', plugins: () => [counterparts()] },
  build: { outDir: here('../dist/page'), emptyOutDir: true, target: 'es2022', assetsInlineLimit: 0 },
})
