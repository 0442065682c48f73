import type { Sink } from './sink.ts'

/** Takes everything and keeps nothing. */
export const discardSink: Sink = { send: async () => true, close: async () => undefined }
