import { signal } from '@preact/signals'

/** Milliseconds since 1970, once a second: what says how long ago something was follows it. */
export const nowMs = signal(Date.now())
setInterval(() => {
  if (!document.hidden) nowMs.value = Date.now()
}, 1000)
