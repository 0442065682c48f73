import type { BackendChoice } from '@espalier/shared/runtime/page-backend'
import { type LivePicture, type LiveStatus, mountLive } from '../../../../controller/web/live/mount-live.ts'

/** What the test calls in the page. */
const pictures = new Map<string, { canvas: HTMLCanvasElement; picture: LivePicture; statuses: LiveStatus[] }>()

const calls = {
  mount(device: string, slot: string, backend: BackendChoice): void {
    const canvas = document.createElement('canvas')
    document.body.append(canvas)
    const statuses: LiveStatus[] = []
    const picture = mountLive(canvas, { device, slot, backend, onStatus: (status) => statuses.push(status) })
    pictures.set(`${device}/${slot}`, { canvas, picture, statuses })
  },
  status: (key: string): LiveStatus | undefined => pictures.get(key)?.statuses.at(-1),
  /** What the canvas shows: RGBA. */
  async pixels(key: string): Promise<{ width: number; height: number; rgba: number[] }> {
    const { canvas } = pictures.get(key)!
    // A worker's canvas comes to the page with the page's next picture.
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame)
    const { width, height } = canvas
    const copy = new OffscreenCanvas(width, height).getContext('2d')!
    copy.drawImage(canvas, 0, 0)
    return { width, height, rgba: [...copy.getImageData(0, 0, width, height).data] }
  },
  /** Out of sight, by the page's own layout. */
  setHidden(key: string, isHidden: boolean): void {
    pictures.get(key)!.canvas.style.display = isHidden ? 'none' : ''
  },
  close(key: string): void {
    pictures.get(key)?.picture.close()
    pictures.delete(key)
  },
}
Object.assign(globalThis, { espalierLive: calls })
