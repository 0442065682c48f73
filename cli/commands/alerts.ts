import { type Command, Option } from 'commander'
import { z } from 'zod'
import { type ApiOptions, formatTable, formatTime, show, withApi } from '../api-command.ts'
import { callApi } from '../fleet-api.ts'

const alertsSchema = z.object({
  alerts: z.array(
    z.object({
      rule: z.string(),
      subject: z.string(),
      severity: z.string(),
      condition: z.string(),
      state: z.string(),
      since: z.string(),
      value: z.number().optional(),
      unit: z.string().optional(),
    }),
  ),
})
const ruleSchema = z.object({
  id: z.string(),
  condition: z.string(),
  selector: z.string(),
  severity: z.string(),
  notify: z.array(z.string()),
  isEnabled: z.boolean(),
})
const eventsSchema = z.object({
  events: z.array(z.object({ at: z.string(), event: z.string(), severity: z.string(), message: z.string() })),
})
const deliveriesSchema = z.object({
  deliveries: z.array(
    z.object({
      to: z.string(),
      state: z.string(),
      attempts: z.number(),
      createdAt: z.string(),
      reason: z.string().optional(),
    }),
  ),
})
const metricsSchema = z.object({
  metrics: z.array(
    z.object({ name: z.string(), unit: z.string().optional(), hasBudget: z.boolean(), sentence: z.string() }),
  ),
})

interface SetOptions extends ApiOptions {
  readonly selector: string
  readonly severity: string
  readonly hysteresis?: string
  readonly notify: string[]
  readonly disabled?: true
}

const collect = (value: string, before: string[]): string[] => [...before, value]

async function setRule(id: string, condition: string, options: SetOptions): Promise<void> {
  const { selector, severity, notify, hysteresis, disabled } = options
  const share = hysteresis === undefined ? {} : { hysteresisShare: Number(hysteresis) / 100 }
  const body = { condition, selector, severity, notify, isEnabled: disabled !== true, ...share }
  await show(
    options,
    async () =>
      ruleSchema.parse(await callApi(options.api, `alerts/rules/${encodeURIComponent(id)}`, { method: 'PUT', body })),
    (rule) => `${rule.id}: ${rule.condition}`,
  )
}

export function registerAlertCommands(program: Command): void {
  const alerts = program.command('alerts').description('rules on what devices, sites and the fleet do')
  withApi(alerts.command('list', { isDefault: true }))
    .description('what fires now, and what is about to')
    .action((options: ApiOptions) =>
      show(
        options,
        async () => alertsSchema.parse(await callApi(options.api, 'alerts')),
        (found) =>
          found.alerts.length === 0
            ? 'nothing fires'
            : formatTable([
                ['STATE', 'SEVERITY', 'SUBJECT', 'VALUE', 'SINCE', 'RULE', 'CONDITION'],
                ...found.alerts.map((a) => [
                  a.state,
                  a.severity,
                  a.subject,
                  a.value === undefined ? '-' : `${Number(a.value.toPrecision(4))} ${a.unit ?? ''}`.trimEnd(),
                  formatTime(a.since),
                  a.rule,
                  a.condition,
                ]),
              ]),
      ),
    )
  withApi(alerts.command('rules'))
    .description('the rules')
    .action((options: ApiOptions) =>
      show(
        options,
        async () => z.object({ rules: z.array(ruleSchema) }).parse(await callApi(options.api, 'alerts/rules')).rules,
        (rules) =>
          rules.length === 0
            ? 'no rules: set one with "espalier alerts set hot \'device.powerW > 12 for 60s\'"'
            : formatTable([
                ['RULE', 'SEVERITY', 'OF', 'CONDITION', 'TELLS'],
                ...rules.map((r) => [
                  r.id,
                  r.isEnabled ? r.severity : 'off',
                  r.selector || 'all',
                  r.condition,
                  r.notify.join(', ') || '-',
                ]),
              ]),
      ),
    )
  withApi(alerts.command('set'))
    .description('make or change a rule')
    .argument('<rule>', 'its name')
    .argument('<condition>', 'e.g. "device.powerW > 12 for 60s", "device.offline for 5m", "site.rateBps > 0.95 budget"')
    .option('--selector <labels>', 'which devices, e.g. "site=local,!lab"', '')
    .addOption(new Option('--severity <severity>').choices(['info', 'warning', 'critical']).default('warning'))
    .option('--hysteresis <percent>', 'how far back a value must come to be over; 5')
    .option('--notify <target>', 'https://... or mailto:...; may be repeated', collect, [])
    .option('--disabled', 'keep it, and do not judge it')
    .action((id: string, condition: string, options: SetOptions) => setRule(id, condition, options))
  for (const [name, method, path, said] of [
    ['remove', 'DELETE', '', 'is removed'],
    ['test', 'POST', '/test', 'sends a test to whom it tells'],
  ] as const)
    withApi(alerts.command(name))
      .description(name === 'test' ? 'send something to the targets of a rule' : 'remove a rule')
      .argument('<rule>')
      .action((id: string, options: ApiOptions) =>
        show(
          options,
          () => callApi(options.api, `alerts/rules/${encodeURIComponent(id)}${path}`, { method }),
          () => `${id} ${said}`,
        ),
      )
  withApi(alerts.command('events'))
    .description('what fired and was resolved, the latest first')
    .option('--limit <count>', 'at most', '50')
    .action((options: ApiOptions & { readonly limit: string }) =>
      show(
        options,
        async () =>
          eventsSchema.parse(await callApi(options.api, `alerts/events?limit=${encodeURIComponent(options.limit)}`)),
        ({ events }) =>
          events.length === 0
            ? 'nothing has happened'
            : formatTable(events.map((e) => [formatTime(e.at), e.event, e.severity, e.message])),
      ),
    )
  withApi(alerts.command('deliveries'))
    .description('what was sent to whom, and whether it came')
    .action((options: ApiOptions) =>
      show(
        options,
        async () => deliveriesSchema.parse(await callApi(options.api, 'alerts/deliveries')),
        ({ deliveries }) =>
          deliveries.length === 0
            ? 'nothing was sent'
            : formatTable([
                ['WHEN', 'TO', 'STATE', 'ATTEMPTS', 'WHY'],
                ...deliveries.map((d) => [formatTime(d.createdAt), d.to, d.state, String(d.attempts), d.reason ?? '']),
              ]),
      ),
    )
  withApi(alerts.command('metrics'))
    .description('what rules can be about')
    .action((options: ApiOptions) =>
      show(
        options,
        async () => metricsSchema.parse(await callApi(options.api, 'alerts/metrics')),
        ({ metrics }) =>
          formatTable([
            ['METRIC', 'UNIT', 'BUDGET', ''],
            ...metrics.map((m) => [m.name, m.unit ?? 'flag', m.hasBudget ? 'yes' : '', m.sentence]),
          ]),
      ),
    )
}
