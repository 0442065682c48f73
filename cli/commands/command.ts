import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { type ApiOptions, show, withApi } from '../api-command.ts'
import { callApi } from '../fleet-api.ts'

const OF_DEVICE = ['rebirth', 'restart-worker']
const OF_SLOT = ['roll-back', 'pause', 'resume', 'profile', 'snapshot', 'key-frame']

function kindOf(text: string): string {
  if ([...OF_DEVICE, ...OF_SLOT].includes(text)) return text
  throw new InvalidArgumentError(`expected one of ${[...OF_SLOT, ...OF_DEVICE].join(', ')}`)
}

const detailSchema = z.object({ slots: z.array(z.object({ slot: z.string() })) })

/** The slot of a device that has one; of one with several it must be said which. */
async function onlySlot(api: string, device: string): Promise<string> {
  const { slots } = detailSchema.parse(await callApi(api, `devices/${encodeURIComponent(device)}`))
  if (slots.length === 1) return slots[0]!.slot
  throw new Error(
    `Cannot choose a slot of "${device}": found ${slots.map(({ slot }) => slot).join(', ') || 'none'}, say --slot`,
  )
}

async function send(device: string, kind: string, options: ApiOptions & { readonly slot?: string }): Promise<void> {
  await show(
    options,
    async () => {
      const slot = OF_SLOT.includes(kind) ? (options.slot ?? (await onlySlot(options.api, device))) : undefined
      const body = { kind, ...(slot === undefined ? {} : { slot }) }
      return callApi(options.api, `devices/${encodeURIComponent(device)}/commands`, { method: 'POST', body })
    },
    () => `${kind} sent to ${device}; what came of it is in the device's events`,
  )
}

export function registerDeviceCommand(program: Command): void {
  withApi(program.command('command'))
    .description('tell a device to do something once')
    .argument('<device>')
    .argument('<kind>', `${OF_SLOT.join(', ')}; of the whole device: ${OF_DEVICE.join(', ')}`, kindOf)
    .option('--slot <slot>', 'which slot; may be left out where the device has one')
    .addHelpText(
      'after',
      `
roll-back  the version of the family before the present one; a rollout then leaves the device there
pause      no frames until resume, over restarts too
profile    measure again how fast each backend is`,
    )
    .action((device: string, kind: string, options: ApiOptions & { readonly slot?: string }) =>
      send(device, kind, options),
    )
}
