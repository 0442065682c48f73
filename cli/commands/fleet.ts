import { formatPower, formatRate, parsePower, parseRate } from '@espalier/shared/units'
import { type Command, InvalidArgumentError } from 'commander'
import { z } from 'zod'
import { type ApiOptions, argument, formatTable, show, withApi } from '../api-command.ts'
import { callApi, getBudgets, getDevices } from '../fleet-api.ts'
import { planFile, printInstanceSchema } from './plan-file.ts'

/** What these commands read of the API's answers; the API says more. */
const whySchema = z.object({
  device: z.string(),
  now: z.array(
    z.object({
      slot: z.string(),
      why: z.object({
        chosen: z.string(),
        runnerUp: z.string().optional(),
        probe: z.string().optional(),
        binding: z.string(),
        bindings: z.array(z.string()).optional(),
        price: z.string(),
        predicted: z.object({ rateBps: z.number(), powerW: z.number(), latencyMs: z.number(), psnrDb: z.number() }),
        plan: z.object({ gap: z.number() }),
      }),
    }),
  ),
})
const planSchema = z.object({
  value: z.number(),
  bound: z.number(),
  gap: z.number(),
  sites: z.array(z.object({ site: z.string(), total: z.number(), planned: z.number(), lambda: z.number() })),
  power: z.object({ total: z.number(), planned: z.number(), mu: z.number() }).optional(),
  slots: z.array(
    z.object({ device: z.string(), slot: z.string(), why: z.object({ chosen: z.string(), binding: z.string() }) }),
  ),
  alarms: z.array(z.object({ message: z.string() })),
})

const NONE = '-'

function budgetKey(text: string): string {
  if (!/^(fleet|site:[a-z0-9][a-z0-9-]{0,62})$/.test(text))
    throw new InvalidArgumentError('expected "fleet" or "site:" and a site id')
  return text
}

async function showDevices(options: ApiOptions): Promise<void> {
  const rate = (bps: number | undefined) => (bps === undefined ? NONE : formatRate(bps))
  await show(
    options,
    () => getDevices(options.api),
    (devices) =>
      formatTable([
        ['DEVICE', 'STATE', 'RATE', 'J/FRAME', 'P95', 'PSNR', 'FRAMES', 'CONFIGURATION'],
        ...devices.map((d) => [
          d.id,
          d.state,
          rate(d.bitsPerSecond),
          d.joulesPerFrame ? `${d.joulesPerFrame.value.toPrecision(3)} (${d.joulesPerFrame.source})` : NONE,
          d.latencyMs ? `${d.latencyMs.p95.toFixed(0)} ms` : NONE,
          d.psnrDb === undefined ? NONE : `${d.psnrDb.toFixed(1)} dB`,
          String(d.frames),
          d.configurationId ?? NONE,
        ]),
      ]),
  )
}

async function showPlan(options: ApiOptions): Promise<void> {
  await show(
    options,
    async () => planSchema.parse(await callApi(options.api, 'plan')),
    ({ value, bound, gap, sites, power, slots, alarms }) =>
      [
        `utility ${value.toFixed(3)}, at most ${bound.toFixed(3)} (gap ${(100 * gap).toFixed(2)} %)`,
        ...sites.map(
          (s) =>
            `site:${s.site}  ${formatRate(s.planned)} of ${formatRate(s.total)}, 1 kbit/s more is worth ${(s.lambda * 1000).toPrecision(2)} utility`,
        ),
        ...(power === undefined
          ? []
          : [
              `fleet  ${formatPower(power.planned / 1000)} of ${formatPower(power.total / 1000)}, 1 W more is worth ${power.mu.toPrecision(2)} utility`,
            ]),
        ...alarms.map(({ message }) => `ALARM  ${message}`),
        '',
        formatTable([
          ['SLOT', 'HELD BY', 'CONFIGURATION'],
          ...slots.map(({ device, slot, why }) => [`${device}/${slot}`, why.binding, why.chosen]),
        ]),
      ].join('\n'),
  )
}

async function showWhy(device: string, options: ApiOptions): Promise<void> {
  await show(
    options,
    async () => whySchema.parse(await callApi(options.api, `devices/${encodeURIComponent(device)}/why`)),
    ({ now }) =>
      now.length === 0
        ? `"${device}" is not in the present plan`
        : now
            .map(({ slot, why }) =>
              [
                `${device}/${slot}`,
                `  chosen     ${why.chosen}`,
                ...(why.probe === undefined ? [] : [`  probe      ${why.probe}`]),
                `  runner-up  ${why.runnerUp ?? NONE}`,
                `  held by    ${(why.bindings?.length ? why.bindings : [why.binding]).join(', ')}`,
                `  price      ${why.price}`,
                `  predicted  ${formatRate(why.predicted.rateBps)}, ${formatPower(why.predicted.powerW)}, ${why.predicted.latencyMs.toFixed(0)} ms, ${why.predicted.psnrDb.toFixed(1)} dB`,
                `  gap        ${(100 * why.plan.gap).toFixed(2)} % of the whole plan`,
              ].join('\n'),
            )
            .join('\n'),
  )
}

async function showBudgets(options: ApiOptions): Promise<void> {
  await show(
    options,
    async () => ({ budgets: await getBudgets(options.api) }),
    ({ budgets }) =>
      budgets.length === 0
        ? 'no budgets: every slot runs its best configuration'
        : formatTable([
            ['BUDGET', 'LIMIT'],
            ...budgets.map(({ key, rateBps, powerW }) => [
              key,
              rateBps === undefined ? formatPower(powerW ?? 0) : formatRate(rateBps),
            ]),
          ]),
  )
}

type SetOptions = ApiOptions & { readonly uplink?: number; readonly power?: number }

async function setBudget(key: string, options: SetOptions, command: Command): Promise<void> {
  const { uplink, power } = options
  const wanted = key === 'fleet' ? '--power' : '--uplink'
  const value = key === 'fleet' ? power : uplink
  if (value === undefined || (uplink !== undefined && power !== undefined))
    command.error(
      `error: budget "${key}" takes ${wanted} alone, e.g. ${key === 'fleet' ? '--power 4W' : '--uplink 150kbit/s'}`,
      {
        exitCode: 2,
      },
    )
  const body = key === 'fleet' ? { powerW: value } : { rateBps: value }
  await show(
    options,
    () => callApi(options.api, `budgets/${key}`, { method: 'PUT', body }),
    () => `${key} ${key === 'fleet' ? formatPower(value) : formatRate(value)}`,
  )
}

async function removeBudget(key: string, options: ApiOptions): Promise<void> {
  await show(
    options,
    () => callApi(options.api, `budgets/${key}`, { method: 'DELETE' }),
    () => `${key} has no budget`,
  )
}

/** Add the commands that ask and steer a running controller. */
export function registerFleetCommands(program: Command): void {
  withApi(program.command('devices'))
    .description('what every device runs and costs')
    .action((options: ApiOptions) => showDevices(options))
  withApi(program.command('plan'))
    .description('the present plan of a controller, its prices and its gap; or the plan of a fleet in a file')
    .argument('[instance]', 'a JSON file as in docs/planner.md: solved here, no controller is asked')
    .option('--schema', 'print the JSON Schema of such a file')
    .action((instance: string | undefined, options: ApiOptions & { readonly schema?: true }) => {
      if (options.schema) return printInstanceSchema()
      return instance === undefined ? showPlan(options) : planFile(instance, options)
    })
  withApi(program.command('why'))
    .description('why a device runs what it runs')
    .argument('<device>')
    .action((device: string, options: ApiOptions) => showWhy(device, options))

  const budgets = program.command('budgets').description('limits of uplinks (site:<id>) and of power (fleet)')
  withApi(budgets.command('list', { isDefault: true }))
    .description('the budgets that are set')
    .action((options: ApiOptions) => showBudgets(options))
  withApi(budgets.command('set'))
    .description('set a budget')
    .argument('<key>', '"fleet" or "site:<id>"', budgetKey)
    .option('--uplink <rate>', 'for a site, e.g. 150kbit/s', argument(parseRate))
    .option('--power <power>', 'for the fleet, e.g. 4W', argument(parsePower))
    .action((key: string, options: SetOptions, command: Command) => setBudget(key, options, command))
  withApi(budgets.command('remove'))
    .description('remove a budget')
    .argument('<key>', '"fleet" or "site:<id>"', budgetKey)
    .action((key: string, options: ApiOptions) => removeBudget(key, options))
}
