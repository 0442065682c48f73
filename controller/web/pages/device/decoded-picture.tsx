import { useEffect, useRef, useState } from 'preact/hooks'

/** Decoding takes the controller part of a second: it may spend a tenth of a core on being watched. */
const PICTURE_SHARE = 0.1
const PICTURE_MS = 2000

/** The last picture of a slot that the controller decoded. */
export function DecodedPicture({
  device,
  slot,
  sequence,
}: {
  device: string
  slot: string
  sequence: number | undefined
}) {
  const [shown, setShown] = useState<string>()
  const asked = useRef<{ isBusy: boolean; sequence?: number; nextMs: number }>({ isBusy: false, nextMs: 0 })
  useEffect(() => {
    const state = asked.current
    const startedMs = performance.now()
    if (sequence === undefined || state.isBusy || state.sequence === sequence || startedMs < state.nextMs) return
    state.isBusy = true
    const picture = new Image()
    const finish = (isGood: boolean): void => {
      const now = performance.now()
      state.isBusy = false
      state.nextMs = now + Math.max(PICTURE_MS, (now - startedMs) * (1 / PICTURE_SHARE - 1))
      if (!isGood) return
      state.sequence = sequence
      setShown(picture.src)
    }
    picture.onload = () => finish(true)
    picture.onerror = () => finish(false)
    picture.src = `/api/v1/devices/${encodeURIComponent(device)}/slots/${encodeURIComponent(slot)}/frame.png?sequence=${sequence}`
  }, [device, slot, sequence])
  return shown === undefined ? (
    <p class="picture-empty muted">No picture yet.</p>
  ) : (
    <img src={shown} alt={`Last decoded frame of ${device}, ${slot}`} />
  )
}
