/**
 * A page that nobody sees is slowed down by its browser, to one timer a second and later one a minute, and a phone
 * stops its camera. Frames that come then would say nothing true of the device: none are taken, and those that were due
 * count as dropped when it goes on.
 */
export const isAsleep = (): boolean => document.visibilityState !== 'visible'

export async function untilAwake(): Promise<void> {
  while (isAsleep())
    await new Promise<void>((resolve) => document.addEventListener('visibilitychange', () => resolve(), { once: true }))
}

/** Keep the screen on while the agent runs, where the browser lets a page do so. @returns Call to let it go. */
export function keepAwake(): () => void {
  // Absent where the page is not of a secure origin.
  const wakeLock = navigator.wakeLock as WakeLock | undefined
  let held: WakeLockSentinel | undefined
  let isWanted = true
  // A lock is lost whenever the page is hidden, and may be refused while a battery is low.
  const hold = async (): Promise<void> => {
    if (isWanted && !isAsleep()) held = await wakeLock?.request('screen').catch(() => undefined)
  }
  const again = (): void => void hold()
  document.addEventListener('visibilitychange', again)
  void hold()
  return () => {
    isWanted = false
    document.removeEventListener('visibilitychange', again)
    void held?.release()
  }
}
