import { ConfigError } from '@espalier/shared/errors'
import type { Task } from '@espalier/shared/manifest/manifest'
import type { SinkConfig } from '../config.ts'
import { discardSink } from './discard-sink.ts'
import { openEventsSink } from './events-sink.ts'
import { openFolderSink } from './folder-sink.ts'
import { openLinesSink } from './lines-sink.ts'
import type { Sink, SinkPlace } from './sink.ts'
import { openUplinkSink } from './uplink-sink.ts'

const SINKS_OF: Readonly<Record<Task, readonly SinkConfig['kind'][]>> = {
  'image-codec': ['uplink', 'folder', 'discard'],
  classification: ['events', 'folder', 'discard'],
}

/** @throws {ConfigError} If results of this task cannot go there. */
export async function openSink(config: SinkConfig, place: SinkPlace): Promise<Sink> {
  const { task, slot } = place
  if (!SINKS_OF[task].includes(config.kind))
    throw new ConfigError(
      `Cannot open sink of slot "${slot}": found "${config.kind}", expected one of ${SINKS_OF[task].join(', ')} for a family of task ${task}`,
    )
  switch (config.kind) {
    case 'uplink': {
      const url = new URL(`${place.controllerUrl.replace(/\/$/, '')}/api/v1/uplink/${place.device}/${slot}`)
      url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
      return openUplinkSink(url.href, place.random, place.onSent)
    }
    case 'folder':
      return task === 'image-codec' ? openFolderSink(config.path, config) : openLinesSink(config.path, config)
    case 'events':
      return openEventsSink(slot, place.clock, place.onEvent)
    case 'discard':
      return discardSink
  }
}
