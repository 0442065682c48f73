import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { extname, resolve, sep } from 'node:path'
import { launchChromium } from '../../cli/bench/browser/chromium.ts'
import type { Device } from './device.ts'

export interface ChromiumDevice extends Device {
  readonly backend: 'webgpu' | 'wasm'
  /** The adapter, or why there is no WebGPU. */
  readonly description: string
  close(): Promise<void>
}

const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
}

/** @param folders URL prefix -> folder. The page itself is made here. */
async function serve(folders: Record<string, string>): Promise<{ server: Server; origin: string }> {
  const read = async (path: string): Promise<Uint8Array> => {
    if (path === '/index.html')
      return Buffer.from('<!doctype html><script type="module" src="/page/page-device.js"></script>')
    // The runtime looks for its WebAssembly beside the code that loads it.
    const folder = extname(path) === '.wasm' ? folders.wasm : folders[path.split('/')[1]!]
    const name = extname(path) === '.wasm' ? path.split('/').at(-1)! : path.split('/').slice(2).join('/')
    const file = resolve(folder ?? '', name)
    if (folder === undefined || !file.startsWith(folder + sep)) throw new Error(`nothing at ${path}`)
    return readFile(file)
  }
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    read(pathname)
      .then((body) =>
        response
          .writeHead(200, {
            'content-type': CONTENT_TYPES[extname(pathname)] ?? 'application/octet-stream',
            // Without these two a page has no shared memory, and WASM no threads.
            'cross-origin-opener-policy': 'same-origin',
            'cross-origin-embedder-policy': 'require-corp',
          })
          .end(body),
      )
      .catch(() => response.writeHead(404).end())
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return { server, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

interface PageScope {
  readonly espalierDevice: Device & { open(backend: 'webgpu' | 'wasm'): Promise<void> }
  readonly navigator: { readonly gpu?: { requestAdapter(): Promise<{ info?: object } | null> } }
}

/** Runs in the page: WebGPU if there is an adapter and the device opens on it, else WASM. */
async function openDeviceInPage(): Promise<{ backend: 'webgpu' | 'wasm'; description: string }> {
  const scope = globalThis as unknown as PageScope
  try {
    const adapter = await scope.navigator.gpu?.requestAdapter()
    if (!adapter) throw new Error('the browser gives no adapter')
    await scope.espalierDevice.open('webgpu')
    const { vendor, architecture, description } = (adapter.info ?? {}) as Record<string, string>
    return { backend: 'webgpu', description: [vendor, architecture, description].filter(Boolean).join(' ') }
  } catch (error) {
    await scope.espalierDevice.open('wasm')
    return { backend: 'wasm', description: `no WebGPU: ${(error as Error).message}` }
  }
}

/**
 * Open a page that is a device: on WebGPU where the browser gives an adapter (in software if need be), else on WASM.
 *
 * @param folders.page Holds page-device, bundled. @param folders.wasm Holds the runtime's .wasm files.
 */
export async function openChromiumDevice(
  executablePath: string,
  folders: { page: string; family: string; wasm: string },
): Promise<ChromiumDevice> {
  const { server, origin } = await serve(folders)
  const { context, close } = await launchChromium(executablePath)
  const page = await context.newPage()
  page.on('pageerror', (error) => console.warn(`Chromium: ${error.message}`))
  await page.goto(`${origin}/index.html`)
  await page.waitForFunction('globalThis.espalierDevice !== undefined')
  const { backend, description } = await page.evaluate(openDeviceInPage)
  const call =
    <M extends keyof Device>(method: M) =>
    async (...args: Parameters<Device[M]>): Promise<Awaited<ReturnType<Device[M]>>> =>
      page.evaluate(([name, given]) => (globalThis as unknown as PageScope).espalierDevice[name](...given), [
        method,
        args,
      ] as [M, Parameters<Device[M]>]) as Promise<Awaited<ReturnType<Device[M]>>>
  return {
    backend,
    description,
    encode: call('encode'),
    decodeSymbols: call('decodeSymbols'),
    decode: call('decode'),
    async close() {
      await close()
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
    },
  }
}
