import { describeError, MessageError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import {
  type Command,
  type ControllerState,
  commandSchema,
  controllerStateSchema,
  type Desired,
  desiredSchema,
} from '@espalier/shared/messages/controller'
import type { Ack } from '@espalier/shared/messages/device'
import { parseMessage } from '@espalier/shared/messages/envelope'
import { CONTROLLER_STATE_TOPIC, downTopic } from '@espalier/shared/messages/topics'
import { z } from 'zod'
import type { Log } from '../log.ts'
import type { Outbox } from './outbox.ts'

export interface InboxOptions {
  readonly device: DeviceId
  readonly outbox: Pick<Outbox, 'sendEvent' | 'sendAck'>
  readonly onDesired: (desired: Desired) => void
  /** @param signed Not trusted yet. @throws To refuse it. */
  readonly onCapsule: (signed: unknown, isRetained: boolean) => void
  readonly onController: (state: ControllerState) => void
  readonly onCommand: (command: Command) => Promise<Ack>
  readonly log: Log
}

/** What this device listens to. */
export function subscriptionsOf(device: DeviceId): string[] {
  return [
    downTopic(device, 'desired'),
    downTopic(device, 'capsule'),
    downTopic(device, 'command/+'),
    CONTROLLER_STATE_TOPIC,
  ]
}

/** Parses what comes down, hands it on, and answers commands. Nothing that a peer sends can throw out of here. */
export class Inbox {
  readonly #options: InboxOptions

  constructor(options: InboxOptions) {
    this.#options = options
  }

  receive(topic: string, payload: Uint8Array, isRetained = false): void {
    const { device, onDesired, onCapsule, onController, outbox, log } = this.#options
    try {
      if (topic === downTopic(device, 'desired')) onDesired(parseMessage(payload, 'desired', desiredSchema).body)
      else if (topic.startsWith(downTopic(device, 'command/'))) this.#receiveCommand(topic, payload)
      else if (topic === downTopic(device, 'capsule'))
        onCapsule(parseMessage(payload, 'capsule', z.unknown()).body, isRetained)
      else if (topic === CONTROLLER_STATE_TOPIC)
        onController(parseMessage(payload, 'controller state', controllerStateSchema).body)
      else log.debug({ topic }, 'message on an unknown topic dropped')
    } catch (error) {
      // A broken message, or a disk that refuses the new state: the old one stays in force.
      outbox.sendEvent({ kind: 'message-refused', message: describeError(error).slice(0, 1000) })
    }
  }

  #receiveCommand(topic: string, payload: Uint8Array): void {
    const { outbox, onCommand } = this.#options
    const id = topic.split('/').at(-1)!
    // The id becomes a topic level and part of a spool record.
    if (!/^[A-Za-z0-9._-]{1,64}$/.test(id)) throw new MessageError(`Cannot obey command "${id}": unusable id`)
    const reject = (error: unknown): void =>
      outbox.sendAck(id, { result: 'rejected', reason: describeError(error).slice(0, 500) })
    let command: Command
    try {
      command = parseMessage(payload, 'command', commandSchema).body
    } catch (error) {
      reject(error)
      throw error
    }
    onCommand(command).then((ack) => outbox.sendAck(id, ack), reject)
  }
}
