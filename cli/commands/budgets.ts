import { formatEmission, formatPower, formatRate, parseEmission, parsePower, parseRate } from '@espalier/shared/units'
import { type Command, InvalidArgumentError } from 'commander'
import { type ApiOptions, argument, formatTable, show, withApi } from '../api-command.ts'
import { callApi, type FleetBudget, getBudgets } from '../fleet-api.ts'

const KEYS = '"fleet", "site:<id>", "gateway:<id>" or "device:<id>"'

/** What a budget of a kind may say, and how to say it. */
const EXAMPLES: Readonly<Record<string, { readonly flags: readonly string[]; readonly example: string }>> = {
  fleet: { flags: ['power', 'carbon'], example: '--power 400W --carbon 90g/h' },
  site: { flags: ['uplink', 'gateway', 'carbonIntensity'], example: '--uplink 150kbit/s --gateway mast' },
  gateway: { flags: ['uplink'], example: '--uplink 1Mbit/s' },
  device: { flags: ['power'], example: '--power 6W' },
}

function budgetKey(text: string): string {
  if (!/^(fleet|(site|gateway|device):[a-z0-9][a-z0-9-]{0,62})$/.test(text))
    throw new InvalidArgumentError(`expected ${KEYS}`)
  return text
}

/** g/kWh: a number, with or without its unit. */
function carbonIntensity(text: string): number {
  const match = /^([0-9]+(?:\.[0-9]+)?)(?: ?g\/kWh)?$/.exec(text)
  if (match === null) throw new InvalidArgumentError('expected grams a kilowatt-hour such as "320"')
  return Number(match[1])
}

function gatewayId(text: string): string {
  const id = text.replace(/^gateway:/, '')
  if (!/^[a-z0-9][a-z0-9-]{0,62}$/.test(id)) throw new InvalidArgumentError('expected the id of a gateway')
  return id
}

function describeBudget({ rateBps, powerW, carbonGPerH, gateway, carbonGPerKwh }: Omit<FleetBudget, 'key'>): string {
  const parts = [
    rateBps === undefined ? undefined : formatRate(rateBps),
    powerW === undefined ? undefined : formatPower(powerW),
    carbonGPerH === undefined ? undefined : formatEmission(carbonGPerH),
    gateway === undefined ? undefined : `through gateway:${gateway}`,
    carbonGPerKwh === undefined ? undefined : `grid of ${carbonGPerKwh} g/kWh`,
  ]
  return parts.filter((part) => part !== undefined).join(', ')
}

async function showBudgets(options: ApiOptions): Promise<void> {
  await show(
    options,
    async () => ({ budgets: await getBudgets(options.api) }),
    ({ budgets }) =>
      budgets.length === 0
        ? 'no budgets: every slot runs its best configuration'
        : formatTable([['BUDGET', 'LIMIT'], ...budgets.map(({ key, ...budget }) => [key, describeBudget(budget)])]),
  )
}

interface SetOptions extends ApiOptions {
  readonly uplink?: number
  readonly power?: number
  readonly carbon?: number
  readonly gateway?: string
  readonly carbonIntensity?: number
}

/** Set what was given; what else the budget says stays. */
async function setBudget(key: string, options: SetOptions, command: Command): Promise<void> {
  const { uplink, power, carbon, gateway, carbonIntensity: intensity } = options
  const given = Object.entries({ uplink, power, carbon, gateway, carbonIntensity: intensity }).flatMap(
    ([flag, value]) => (value === undefined ? [] : [flag]),
  )
  const { flags, example } = EXAMPLES[key.split(':')[0]!]!
  if (given.length === 0 || !given.every((flag) => flags.includes(flag)))
    command.error(`error: budget "${key}" takes ${example}`, { exitCode: 2 })
  const changes = {
    ...(uplink === undefined ? {} : { rateBps: uplink }),
    ...(power === undefined ? {} : { powerW: power }),
    ...(carbon === undefined ? {} : { carbonGPerH: carbon }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(intensity === undefined ? {} : { carbonGPerKwh: intensity }),
  }
  await show(
    options,
    async () => {
      const { key: _, ...before } = (await getBudgets(options.api)).find((budget) => budget.key === key) ?? { key }
      const body = { ...before, ...changes }
      await callApi(options.api, `budgets/${key}`, { method: 'PUT', body })
      return { key, ...body }
    },
    ({ key: _, ...body }) => `${key} ${describeBudget(body)}`,
  )
}

async function removeBudget(key: string, options: ApiOptions): Promise<void> {
  await show(
    options,
    () => callApi(options.api, `budgets/${key}`, { method: 'DELETE' }),
    () => `${key} has no budget`,
  )
}

export function registerBudgetCommands(program: Command): void {
  const budgets = program
    .command('budgets')
    .description('limits of uplinks (site:<id>, gateway:<id>), of power and carbon (fleet), of a device (device:<id>)')
  withApi(budgets.command('list', { isDefault: true }))
    .description('the budgets that are set')
    .action((options: ApiOptions) => showBudgets(options))
  withApi(budgets.command('set'))
    .description('set what a budget limits; what else it limits stays')
    .argument('<key>', KEYS, budgetKey)
    .option('--uplink <rate>', 'of a site or gateway, e.g. 150kbit/s', argument(parseRate))
    .option('--power <power>', 'of the fleet or a device, e.g. 4W', argument(parsePower))
    .option('--carbon <emission>', 'of the fleet, e.g. 90g/h', argument(parseEmission))
    .option('--gateway <id>', 'that a site is behind', gatewayId)
    .option('--carbon-intensity <g/kWh>', 'of the grid that feeds a site, e.g. 320', carbonIntensity)
    .action((key: string, options: SetOptions, command: Command) => setBudget(key, options, command))
  withApi(budgets.command('remove'))
    .description('remove a budget')
    .argument('<key>', KEYS, budgetKey)
    .action((key: string, options: ApiOptions) => removeBudget(key, options))
}
