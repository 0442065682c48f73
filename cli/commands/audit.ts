import type { Command } from 'commander'
import { z } from 'zod'
import { type ApiOptions, argument, formatTable, formatTime, parseDuration, show, withApi } from '../api-command.ts'
import { callApi } from '../fleet-api.ts'

const pageSchema = z.object({
  entries: z.array(
    z.object({
      id: z.number(),
      at: z.string(),
      actor: z.string(),
      address: z.string().optional(),
      kind: z.string(),
      action: z.string(),
      subject: z.string(),
      before: z.unknown().optional(),
      after: z.unknown().optional(),
    }),
  ),
  next: z.number().optional(),
})

interface AuditOptions extends ApiOptions {
  readonly kind?: string
  readonly subject?: string
  readonly actor?: string
  readonly since?: number
  readonly before?: string
  readonly limit: string
}

const short = (value: unknown): string => (value === undefined ? '' : JSON.stringify(value).slice(0, 100))

export function registerAuditCommand(program: Command): void {
  withApi(program.command('audit'))
    .description('who changed what, when; the latest first')
    .option('--kind <kind>', 'budget, rollout, command, alert-rule or family')
    .option('--subject <name>', 'e.g. a rollout, "site:local" or "cam-1/cam0"')
    .option('--actor <name>')
    .option('--since <duration>', 'not longer ago than, e.g. 2d', argument(parseDuration))
    .option('--before <id>', 'the page after the one that ended with this id')
    .option('--limit <count>', 'entries of a page', '50')
    .action(({ api, json, since, ...filter }: AuditOptions) => {
      const { kind, subject, actor, before, limit } = filter
      const given = Object.entries({ kind, subject, actor, before, limit }).filter(([, value]) => value !== undefined)
      const query = new URLSearchParams(given as [string, string][])
      if (since !== undefined) query.set('since', new Date(Date.now() - since * 1000).toISOString())
      return show(
        json === undefined ? {} : { json },
        async () => pageSchema.parse(await callApi(api, `audit?${query}`)),
        ({ entries, next }) =>
          entries.length === 0
            ? 'nothing was changed'
            : [
                formatTable([
                  ['WHEN', 'WHO', 'FROM', 'WHAT', 'OF', 'TO'],
                  ...entries.map((entry) => [
                    formatTime(entry.at),
                    entry.actor,
                    entry.address ?? '-',
                    `${entry.kind} ${entry.action}`,
                    entry.subject,
                    short(entry.after),
                  ]),
                ]),
                ...(next === undefined ? [] : [`more with --before ${next}`]),
              ].join('\n'),
      )
    })
}
