// Compiles kernel/context.ts to WebAssembly and writes it as a module, so that Node, bundlers and browsers all load
// it as they load code: no file to find at run time.
import { readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const wasm = join(here, 'context.wasm')
const made = join(here, '../codec/context-kernel-binary.ts')
const modifiedMs = (path) =>
  stat(path).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  )
if ((await modifiedMs(made)) > (await modifiedMs(join(here, 'context.ts')))) process.exit(0)

const options = ['--runtime', 'stub', '-O3', '--enable', 'simd', '--noAssert', '--importMemory', '--outFile', wasm]
const { default: asc } = await import('assemblyscript/asc')
const { error, stderr } = await asc.main([join(here, 'context.ts'), ...options])
if (error) {
  process.stderr.write(stderr.toString())
  throw error
}
const base64 = (await readFile(wasm)).toString('base64')
const lines = [
  '// Made from kernel/context.ts by kernel/build.mjs.',
  `export const CONTEXT_KERNEL_BASE64 =`,
  `  '${base64}'`,
  '',
]
await writeFile(made, lines.join('\n'))
