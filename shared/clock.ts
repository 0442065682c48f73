/** Time as a dependency, so that tests can hand in another. */
export interface Clock {
  /** Milliseconds of a clock that never jumps; only differences mean anything. */
  monotonicMs(): number
  /** Milliseconds since 1970; may jump, never used for order. */
  wallMs(): number
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
}
