import type { FamilySource } from '@espalier/shared/manifest/open-family'
import { choosePageBackend, type PageBackend } from '@espalier/shared/runtime/page-backend'
import { type LiveDecoder, openLiveDecoder } from './live-decoder.ts'
import { LivePlayer } from './live-player.ts'
import type { LiveReply, LiveRequest, LiveStatus } from './status.ts'

// All live pictures of a page: one runtime, one decoder for each version of a family, and one frame at a time.

const players = new Map<number, LivePlayer>()
/** By address of the family. */
const decoders = new Map<string, Promise<LiveDecoder>>()
let choosing: Promise<PageBackend> | undefined

function familySource(folder: string): FamilySource {
  return async (name) => {
    const response = await fetch(`${folder}/${name}`)
    if (!response.ok) throw new Error(`HTTP ${response.status}`)
    return new Uint8Array(await response.arrayBuffer())
  }
}

function openDecoder(folder: string, { backend }: PageBackend): Promise<LiveDecoder> {
  const known = decoders.get(folder)
  if (known !== undefined) return known
  const opening = openLiveDecoder(familySource(folder), backend)
  decoders.set(folder, opening)
  // A controller that was away may have it the next time.
  opening.catch(() => decoders.delete(folder))
  return opening
}

let isRunning = false
let isWanted = false

/** Show the newest frame of each player in turn, until none has one: no picture starves another. */
async function run(): Promise<void> {
  isWanted = true
  if (isRunning) return
  isRunning = true
  while (isWanted) {
    isWanted = false
    for (const player of [...players.values()]) if (await player.step()) isWanted = true
  }
  isRunning = false
}

function mount(request: Extract<LiveRequest, { kind: 'mount' }>): void {
  const { id, canvas, device, slot, origin, backend } = request
  choosing ??= choosePageBackend(backend)
  const chosen = choosing
  players.set(
    id,
    new LivePlayer({
      url: `${origin.replace(/^http/, 'ws')}api/v1/live/${device}/${slot}`,
      canvas,
      openDecoder: async (manifestDigest) => openDecoder(`${origin}api/v1/families/${manifestDigest}`, await chosen),
      describeBackend: async () => (await chosen).reason,
      onWork: () => void run(),
      onStatus: (status: LiveStatus) => postMessage({ id, status } satisfies LiveReply),
    }),
  )
}

addEventListener('message', ({ data: request }: MessageEvent<LiveRequest>) => {
  switch (request.kind) {
    case 'mount':
      mount(request)
      return
    case 'show':
      players.get(request.id)?.setVisible(request.isVisible)
      return
    case 'close':
      players.get(request.id)?.close()
      players.delete(request.id)
  }
})
