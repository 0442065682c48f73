/** Milliseconds of the system's monotonic clock: the same in every thread, where `performance.now()` has its own zero in each. */
export function systemMonotonicMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1000 + nanoseconds / 1e6
}
