import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Device, DeviceOptions } from './device.ts'
import type { Answer, Call } from './node-device.ts'

export interface ForkedDevice extends Device {
  close(): Promise<void>
}

/** A device in a process of its own. @param entry node-device, bundled. */
export function forkDevice(entry: string, family: string, options: DeviceOptions): ForkedDevice {
  const child = fork(entry, [family, options.backend, String(options.threads)], { serialization: 'advanced' })
  const exited = once(child, 'exit')
  const call =
    <M extends keyof Device>(method: M) =>
    async (...args: Parameters<Device[M]>): Promise<Awaited<ReturnType<Device[M]>>> => {
      const answering = once(child, 'message')
      child.send({ method, args } satisfies Call)
      const ended = exited.then(([code]) => {
        throw new Error(`Device "${options.backend}-${options.threads}" ended with exit code ${code}`)
      })
      const [answer] = (await Promise.race([answering, ended])) as [Answer]
      if ('error' in answer) throw new Error(answer.error)
      return answer.result as Awaited<ReturnType<Device[M]>>
    }
  return {
    encode: call('encode'),
    decodeSymbols: call('decodeSymbols'),
    decode: call('decode'),
    async close() {
      child.kill()
      await exited
    },
  }
}
