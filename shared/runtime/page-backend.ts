/** What is used of a browser: its types come with a browser's, which Node code does without. */
interface PageScope {
  readonly isSecureContext: boolean
  readonly crossOriginIsolated: boolean
  readonly navigator: {
    readonly hardwareConcurrency: number
    readonly gpu?: { requestAdapter(): Promise<{ readonly info: AdapterInfo } | null> }
  }
}
interface AdapterInfo {
  readonly vendor: string
  readonly architecture: string
  readonly device: string
  readonly description: string
  readonly isFallbackAdapter?: boolean
}

/** `auto` takes WebGPU on real hardware, else WASM. */
export type BackendChoice = 'auto' | 'webgpu' | 'wasm'

export interface PageBackend {
  readonly backend: 'webgpu' | 'wasm'
  /** The adapter, or why there is no WebGPU: for people. */
  readonly reason: string
}

/** Adapters that compute on the processor: WASM does that tens of times faster (docs/browser.md). */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i
const MAX_THREADS = 4

const page = globalThis as unknown as PageScope

/** What graphs run on in this page or worker of a page. */
export async function choosePageBackend(wanted: BackendChoice): Promise<PageBackend> {
  if (wanted === 'wasm') return { backend: 'wasm', reason: 'WASM was asked for' }
  const { gpu } = page.navigator
  if (gpu === undefined)
    return {
      backend: 'wasm',
      reason: page.isSecureContext
        ? 'this browser has no WebGPU'
        : 'no WebGPU: the page is not of a secure origin (https, or this machine)',
    }
  const adapter = await gpu.requestAdapter()
  if (adapter === null) return { backend: 'wasm', reason: 'this browser gives no WebGPU adapter' }
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info
  const name = [vendor, architecture, device, description].filter(Boolean).join(' ')
  const isSoftware = SOFTWARE.test(name) || isFallbackAdapter === true
  if (isSoftware && wanted === 'auto') return { backend: 'wasm', reason: `the WebGPU adapter (${name}) is software` }
  return { backend: 'webgpu', reason: name }
}

/**
 * Threads of WASM need memory that is shared, which only an isolated page has; half of the cores are left to the page and
 * to others, because a thread that waits for a core makes all of them wait.
 */
export function pageThreads(): number {
  if (!page.crossOriginIsolated) return 1
  return Math.max(1, Math.min(MAX_THREADS, page.navigator.hardwareConcurrency >> 1))
}
