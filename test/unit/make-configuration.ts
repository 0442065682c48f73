import { type Configuration, configurationSchema } from '@espalier/shared/configuration'

/** A configuration of the shipped codec, small and slow, but for what a test cares about. */
export const makeConfiguration = (changes: Partial<Configuration> = {}): Configuration =>
  configurationSchema.parse({
    family: 'kodo',
    variant: 'full',
    alpha255: 0,
    mode: 'merged',
    backend: 'wasm',
    threads: 1,
    width: 64,
    height: 64,
    frameRate: 5,
    ...changes,
  })
