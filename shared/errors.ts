/**
 * One base for every error that somebody else should react to. Match on `code`, not on the message.
 * Messages read: the action, the subject in quotes, then what was found and what was wanted.
 */
export abstract class EspalierError extends Error {
  abstract readonly code: string

  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = new.target.name
  }
}

/** A setting is missing or contradictory: the operator reacts; exit code 2. */
export class ConfigError extends EspalierError {
  readonly code = 'CONFIG'
}

/** A peer sent something malformed or of an unknown version: drop, count, report. */
export class MessageError extends EspalierError {
  readonly code = 'MESSAGE'
}

/** A digest, signature, checksum or golden output differs: refuse the new, keep the old. */
export class IntegrityError extends EspalierError {
  readonly code = 'INTEGRITY'
}

/** An unsupported operator, data type or shape: this model is rejected. */
export class ModelError extends EspalierError {
  readonly code = 'MODEL'
}

/** The network failed; `retryable` says whether trying again can help. */
export class TransportError extends EspalierError {
  readonly code = 'TRANSPORT'
  readonly retryable: boolean

  constructor(message: string, options: { cause?: unknown; retryable: boolean }) {
    super(message, options)
    this.retryable = options.retryable
  }
}

/** The disk or the database failed; `retryable` says whether trying again can help. */
export class StoreError extends EspalierError {
  readonly code = 'STORE'
  readonly retryable: boolean

  constructor(message: string, options: { cause?: unknown; retryable: boolean }) {
    super(message, options)
    this.retryable = options.retryable
  }
}

/** A configuration change on a device failed: roll back and report. */
export class UpdateError extends EspalierError {
  readonly code = 'UPDATE'
  readonly state: string
  readonly step: string

  constructor(message: string, options: { cause?: unknown; state: string; step: string }) {
    super(message, options)
    this.state = options.state
    this.step = options.step
  }
}

/** "Cannot happen": our own bug. Crash loudly, restart clean. */
export class InvariantError extends EspalierError {
  readonly code = 'INVARIANT'
}

/** The text of anything thrown. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
