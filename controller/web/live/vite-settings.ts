/**
 * What a Vite configuration needs for `mountLive`. `onnxruntime-web` alone would bring a WebAssembly file of 28 MB
 * with kernels that WASM sessions never call; theirs is half of it, and WebGPU has its own.
 */
export const liveViteSettings = {
  worker: { format: 'es' as const },
  resolve: { alias: [{ find: /^onnxruntime-web$/, replacement: 'onnxruntime-web/wasm' }] },
}
