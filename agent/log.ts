import type { Logger } from 'pino'

/** The part of a logger that the agent's parts use, so that tests can hand in another. */
export type Log = Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>
