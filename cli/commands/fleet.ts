import { formatEmission, formatPower, formatRate } from '@espalier/shared/units'
import type { Command } from 'commander'
import { z } from 'zod'
import { type ApiOptions, formatTable, show, withApi } from '../api-command.ts'
import { callApi, getDevices } from '../fleet-api.ts'
import { registerBudgetCommands } from './budgets.ts'
import { planFile, printInstanceSchema } from './plan-file.ts'

/** Of the slot's task. */
const qualityShape = { psnrDb: z.number().optional(), accuracyPct: z.number().optional() }

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
        instead: z
          .object({ rateBps: z.number(), powerW: z.number(), ...qualityShape, worthLess: z.number() })
          .optional(),
        prices: z.array(z.object({ key: z.string(), unit: z.string(), price: z.number() })).optional(),
        binding: z.string(),
        bindings: z.array(z.string()).optional(),
        price: z.string(),
        predicted: z.object({ rateBps: z.number(), powerW: z.number(), latencyMs: z.number(), ...qualityShape }),
        plan: z.object({ gap: z.number() }),
      }),
    }),
  ),
})
const planSchema = z.object({
  value: z.number(),
  bound: z.number(),
  integerBound: z.number(),
  gap: z.number(),
  rows: z.array(
    z.object({
      key: z.string(),
      unit: z.enum(['bit/s', 'W', 'g/h']),
      limit: z.number(),
      planned: z.number(),
      reserved: z.number(),
      margin: z.number(),
      worth: z.string(),
    }),
  ),
  slots: z.array(
    z.object({ device: z.string(), slot: z.string(), why: z.object({ chosen: z.string(), binding: z.string() }) }),
  ),
  alarms: z.array(z.object({ message: z.string() })),
})

const NONE = '-'

function formatAmount(amount: number, unit: 'bit/s' | 'W' | 'g/h'): string {
  if (unit === 'bit/s') return formatRate(amount)
  return unit === 'W' ? formatPower(amount) : formatEmission(amount)
}

async function showDevices(options: ApiOptions): Promise<void> {
  const rate = (bps: number | undefined) => (bps === undefined ? NONE : formatRate(bps))
  await show(
    options,
    () => getDevices(options.api),
    (devices) =>
      formatTable([
        ['DEVICE', 'STATE', 'RATE', 'J/FRAME', 'P95', 'QUALITY', 'FRAMES', 'CONFIGURATION'],
        ...devices.map((d) => [
          d.id,
          d.state,
          rate(d.bitsPerSecond),
          d.joulesPerFrame ? `${d.joulesPerFrame.value.toPrecision(3)} (${d.joulesPerFrame.source})` : NONE,
          d.latencyMs ? `${d.latencyMs.p95.toFixed(0)} ms` : NONE,
          describeMeasured(d),
          String(d.frames),
          d.configurationId ?? NONE,
        ]),
      ]),
  )
}

/** Decibels, or how often a classifier says the same as its family's first variant. */
function describeMeasured({ psnrDb, agreementPct }: Awaited<ReturnType<typeof getDevices>>[number]): string {
  if (psnrDb !== undefined) return `${psnrDb.toFixed(1)} dB`
  return agreementPct === undefined ? NONE : `${agreementPct.toFixed(0)} % agree`
}

async function showPlan(options: ApiOptions): Promise<void> {
  await show(
    options,
    async () => planSchema.parse(await callApi(options.api, 'plan')),
    ({ value, bound, integerBound, gap, rows, slots, alarms }) =>
      [
        `utility ${value.toFixed(3)}, at most ${bound.toFixed(3)} (gap ${(100 * gap).toFixed(2)} %), in whole choices at most ${integerBound.toFixed(3)}`,
        ...(rows.length === 0
          ? []
          : [
              formatTable([
                ['BUDGET', 'PLANNED', 'HELD', 'MARGIN', 'LIMIT', 'ONE MORE'],
                ...rows.map((r) => [
                  r.key,
                  ...[r.planned, r.reserved, r.margin, r.limit].map((amount) => formatAmount(amount, r.unit)),
                  r.worth,
                ]),
              ]),
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

type Why = z.infer<typeof whySchema>['now'][number]['why']

const signed = (amount: number, text: (positive: number) => string): string =>
  `${amount < 0 ? '-' : '+'}${text(Math.abs(amount))}`

/** @param say A number of the unit, as text. */
function describeQuality(
  { psnrDb, accuracyPct }: { readonly psnrDb?: number | undefined; readonly accuracyPct?: number | undefined },
  say: (amount: number, unit: 'dB' | '% accuracy') => string,
): string[] {
  if (psnrDb !== undefined) return [say(psnrDb, 'dB')]
  return accuracyPct === undefined ? [] : [say(accuracyPct, '% accuracy')]
}

/** What the runner-up would change. */
function describeRunnerUp({ rateBps, powerW, worthLess, ...quality }: NonNullable<Why['instead']>): string {
  const parts = [
    signed(rateBps, formatRate),
    signed(powerW, formatPower),
    ...describeQuality(quality, (amount, unit) => signed(amount, (positive) => `${positive.toFixed(2)} ${unit}`)),
    `${worthLess.toPrecision(2)} utility less at the prices`,
  ]
  return parts.join(', ')
}

function describePrediction({ rateBps, powerW, latencyMs, ...quality }: Why['predicted']): string {
  return [
    formatRate(rateBps),
    formatPower(powerW),
    `${latencyMs.toFixed(0)} ms`,
    ...describeQuality(quality, (amount, unit) => `${amount.toFixed(1)} ${unit}`),
  ].join(', ')
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
                ...(why.instead === undefined ? [] : [`             ${describeRunnerUp(why.instead)}`]),
                `  held by    ${(why.bindings?.length ? why.bindings : [why.binding]).join(', ')}`,
                `  price      ${why.price}`,
                ...(why.prices ?? []).map(
                  ({ key, unit, price }) => `             ${key}: ${price.toPrecision(2)} utility per ${unit}`,
                ),
                `  predicted  ${describePrediction(why.predicted)}`,
                `  gap        ${(100 * why.plan.gap).toFixed(2)} % of the whole plan`,
              ].join('\n'),
            )
            .join('\n'),
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

  registerBudgetCommands(program)
}
