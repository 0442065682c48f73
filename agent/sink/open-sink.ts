import type { SinkConfig } from '../config.ts'
import { openFolderSink } from './folder-sink.ts'
import type { Sink } from './sink.ts'
import { openUplinkSink } from './uplink-sink.ts'

export interface SinkPlace {
  readonly controllerUrl: string
  readonly device: string
  readonly slot: string
  readonly random: () => number
}

const discard: Sink = { send: async () => true, close: async () => undefined }

export async function openSink(config: SinkConfig, { controllerUrl, device, slot, random }: SinkPlace): Promise<Sink> {
  switch (config.kind) {
    case 'uplink': {
      const url = new URL(`${controllerUrl.replace(/\/$/, '')}/api/v1/uplink/${device}/${slot}`)
      url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
      return openUplinkSink(url.href, random)
    }
    case 'folder':
      return openFolderSink(config.path, config)
    case 'discard':
      return discard
  }
}
