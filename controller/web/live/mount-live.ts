import type { BackendChoice } from '@espalier/shared/runtime/page-backend'
import type { LiveReply, LiveRequest, LiveStatus } from './status.ts'

export type { LiveStatus } from './status.ts'

export interface LiveOptions {
  readonly device: string
  readonly slot: string
  /** Told whenever something changes, at most once a frame. */
  readonly onStatus: (status: LiveStatus) => void
  /** `auto` unless told otherwise; one worker decodes all pictures of a page, and the first that is mounted decides. */
  readonly backend?: BackendChoice
}

export interface LivePicture {
  /** Stop, and give up the canvas: it keeps its last picture and cannot be mounted again. */
  close(): void
}

/** Sessions stay open for this long after the last picture was closed: a page that changes its view opens others. */
const LINGER_MS = 20_000

interface Pool {
  readonly worker: Worker
  readonly pictures: Map<number, LiveOptions['onStatus']>
  lingering: ReturnType<typeof setTimeout> | undefined
}

let pool: Pool | undefined
let nextId = 1

function startPool(): Pool {
  const worker = new Worker(new URL('./live-worker.ts', import.meta.url), { type: 'module', name: 'espalier-live' })
  const started: Pool = { worker, pictures: new Map(), lingering: undefined }
  worker.addEventListener('message', ({ data }: MessageEvent<LiveReply>) =>
    started.pictures.get(data.id)?.(data.status),
  )
  worker.addEventListener('error', (event) => {
    // The script could not be loaded, or nothing in it caught this: what is mounted now will not come back by itself.
    if (pool === started) pool = undefined
    const reason = `Cannot decode: ${event.message || 'the worker could not be loaded'}`
    for (const tell of started.pictures.values()) tell({ state: 'failed', reason, shown: 0, passedOver: 0 })
    worker.terminate()
  })
  return started
}

function closeIfIdle(idle: Pool): void {
  if (idle.pictures.size > 0) return
  idle.worker.terminate()
  if (pool === idle) pool = undefined
}

/**
 * Show what a slot sends, live. Decoding is the browser's work: on its GPU where it has one, else in WebAssembly, in a
 * worker that all pictures of the page share. Nothing is decoded for a canvas that nobody can see.
 *
 * @param canvas Never drawn on before; takes the size of the frames. It is handed to the worker for good.
 */
export function mountLive(canvas: HTMLCanvasElement, options: LiveOptions): LivePicture {
  const { device, slot, onStatus, backend = 'auto' } = options
  // Digests are Web Crypto's, which other pages do not have.
  if (!globalThis.isSecureContext) {
    const reason = 'Cannot decode in this page: found an insecure origin, expected https or this machine itself'
    queueMicrotask(() => onStatus({ state: 'failed', reason, shown: 0, passedOver: 0 }))
    return { close: () => undefined }
  }
  const own = pool ?? startPool()
  pool = own
  clearTimeout(own.lingering)
  const id = nextId++
  own.pictures.set(id, onStatus)
  const send = (request: LiveRequest, transfer: Transferable[] = []): void => own.worker.postMessage(request, transfer)

  const offscreen = canvas.transferControlToOffscreen()
  const origin = new URL('/', location.href).href
  send({ kind: 'mount', id, canvas: offscreen, device, slot, origin, backend }, [offscreen])

  let isInView = true
  const tellVisible = (): void =>
    send({ kind: 'show', id, isVisible: isInView && document.visibilityState === 'visible' })
  const observer = new IntersectionObserver((entries) => {
    isInView = entries.at(-1)?.isIntersecting ?? true
    tellVisible()
  })
  observer.observe(canvas)
  document.addEventListener('visibilitychange', tellVisible)

  return {
    close() {
      if (!own.pictures.delete(id)) return
      observer.disconnect()
      document.removeEventListener('visibilitychange', tellVisible)
      send({ kind: 'close', id })
      if (own.pictures.size === 0) own.lingering = setTimeout(() => closeIfIdle(own), LINGER_MS)
    },
  }
}
