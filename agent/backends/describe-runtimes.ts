import type { Birth } from '@espalier/shared/messages/device'
import { isSameRuntime, type Runtimes, type UsableRuntime } from './runtime.ts'

/**
 * A slot's backends as birth says them.
 *
 * @param running As its worker measured it, for where nothing else was measured.
 */
export function describeRuntimes(
  { usable, refused }: Runtimes,
  running: UsableRuntime,
): Pick<Birth['slots'][number], 'backends' | 'backendsRefused' | 'macsPerSecond'> {
  const measured = usable.map((runtime) =>
    isSameRuntime(runtime, running) ? { ...running, ...withSpeed(runtime) } : runtime,
  )
  const wasm = measured.find(({ backend, threads }) => backend === 'wasm' && threads === 1) ?? running
  return {
    backends: measured.map(({ backend, threads, speed }) => ({
      backend,
      threads,
      ...(speed === undefined ? {} : { macsPerSecond: speed.macsPerSecond }),
    })),
    ...(refused.length === 0 ? {} : { backendsRefused: [...refused] }),
    // Where WebAssembly was not tried, what runs is the next best guess.
    macsPerSecond: (wasm.speed ?? running.speed)!.macsPerSecond / wasm.threads,
  }
}

const withSpeed = ({ speed }: UsableRuntime): Partial<UsableRuntime> => (speed === undefined ? {} : { speed })
