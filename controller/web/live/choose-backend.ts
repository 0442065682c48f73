import type { BackendChoice } from './status.ts'

export interface ChosenBackend {
  readonly backend: 'webgpu' | 'wasm'
  /** The adapter, or why there is no WebGPU: for people. */
  readonly reason: string
}

/** Adapters that compute on the processor: WASM does that tens of times faster (docs/browser.md). */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render/i

/** @param wanted `auto`: the GPU where there is a real one. */
export async function chooseBackend(wanted: BackendChoice): Promise<ChosenBackend> {
  if (wanted === 'wasm') return { backend: 'wasm', reason: 'WASM was asked for' }
  const gpu = (navigator as { gpu?: GPU }).gpu
  if (gpu === undefined)
    return {
      backend: 'wasm',
      reason: globalThis.isSecureContext
        ? 'this browser has no WebGPU'
        : 'no WebGPU: the page is not of a secure origin (https, or this machine)',
    }
  const adapter = await gpu.requestAdapter()
  if (adapter === null) return { backend: 'wasm', reason: 'this browser gives no WebGPU adapter' }
  const { vendor, architecture, device, description } = adapter.info
  const name = [vendor, architecture, device, description].filter(Boolean).join(' ')
  const isSoftware = SOFTWARE.test(name) || (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true
  if (isSoftware && wanted === 'auto') return { backend: 'wasm', reason: `the WebGPU adapter (${name}) is software` }
  return { backend: 'webgpu', reason: name }
}
