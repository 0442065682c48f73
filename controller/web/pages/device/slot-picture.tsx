import { useEffect, useRef, useState } from 'preact/hooks'
import type { SlotBirth, SlotView } from '../../contracts/device.ts'
import type { LiveStatus } from '../../live/mount-live.ts'
import { duration, milliseconds, rate } from '../../state/format.ts'
import { DecodedPicture } from './decoded-picture.tsx'

/** Decoding in this page is fetched when a picture is first looked at. */
const loadLive = () => import('../../live/mount-live.ts')

/** A canvas that is handed to a decoder for as long as it is shown; it cannot be handed over twice. */
function LivePicture(props: { device: string; slot: string; onStatus: (status: LiveStatus) => void }) {
  const { device, slot, onStatus } = props
  const place = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const canvas = document.createElement('canvas')
    canvas.setAttribute('role', 'img')
    canvas.setAttribute('aria-label', `Live picture of ${device}, ${slot}`)
    place.current!.replaceChildren(canvas)
    let close: (() => void) | undefined
    let isOver = false
    loadLive().then(
      ({ mountLive }) => {
        if (isOver) return
        const picture = mountLive(canvas, { device, slot, onStatus })
        close = () => picture.close()
      },
      (error: unknown) => onStatus({ state: 'failed', reason: String(error), shown: 0, passedOver: 0 }),
    )
    return () => {
      isOver = true
      close?.()
    }
  }, [device, slot, onStatus])
  return <div ref={place} class="picture-live" />
}

function describeLive(status: LiveStatus | undefined): string {
  if (status === undefined) return 'opening the decoder'
  const { state, reason, backend, decodeMs, captureToPictureMs } = status
  if (state !== 'live') return `${state}${reason === undefined ? '' : `: ${reason}`}`
  const times = [
    ...(decodeMs === undefined ? [] : [`decoding ${milliseconds(decodeMs)}`]),
    ...(captureToPictureMs === undefined ? [] : [`capture to picture ${milliseconds(captureToPictureMs)}`]),
  ]
  return [`live, decoded in this page by ${backend}`, ...times].join(', ')
}

/** What the device sees, as decoded from what it sends: live in the page if it can, else picture by picture. */
export function SlotPicture({ device, slot, birth }: { device: string; slot: SlotView; birth: SlotBirth | undefined }) {
  const [status, setStatus] = useState<LiveStatus>()
  const isLive = status?.state !== 'failed'
  const { uplink, configuration } = slot
  return (
    <figure class="picture">
      {isLive ? (
        <LivePicture device={device} slot={slot.slot} onStatus={setStatus} />
      ) : (
        <DecodedPicture device={device} slot={slot.slot} sequence={uplink?.sequence} />
      )}
      <figcaption class="muted small">
        {isLive
          ? describeLive(status)
          : `decoded by the controller${status?.reason === undefined ? '' : ` (${status.reason})`}`}
        {configuration === undefined ? '' : `; ${configuration.width} × ${configuration.height}`}
        {birth === undefined ? '' : ` of ${birth.source.width} × ${birth.source.height} from ${birth.source.kind}`}
        {uplink === undefined
          ? '; nothing was received'
          : `; frame ${uplink.sequence}, ${duration(uplink.ageMs / 1000)} old, ${uplink.missing} missing, received at ${rate(uplink.bitsPerSecond)}`}
      </figcaption>
    </figure>
  )
}
