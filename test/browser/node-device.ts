import { type Device, openDevice } from './device.ts'

/** A call from the test, and what is answered. */
export interface Call {
  readonly method: keyof Device
  readonly args: readonly unknown[]
}
export type Answer = { readonly result: unknown } | { readonly error: string }

// A process of its own for each device: onnxruntime-web fixes its thread count for the process.
const [family, backend, threads] = process.argv.slice(2)
const opening = openDevice(family!, { backend: backend as 'wasm' | 'native', threads: Number(threads) })

process.on('message', async ({ method, args }: Call) => {
  const answer: Answer = await opening
    .then((device) => (device[method] as (...args: readonly unknown[]) => Promise<unknown>)(...args))
    .then((result) => ({ result }))
    .catch((error: Error) => ({ error: error.message }))
  process.send!(answer)
})
