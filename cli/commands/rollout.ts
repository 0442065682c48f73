import { setTimeout as delay } from 'node:timers/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { z } from 'zod'
import { type ApiOptions, argument, formatTable, formatTime, parseDuration, show, withApi } from '../api-command.ts'
import { callApi } from '../fleet-api.ts'
import { getFamilies } from './families.ts'

/** What these commands read of the API's answers; the API says more. */
const countsSchema = z.object({
  total: z.number(),
  waiting: z.number(),
  held: z.number(),
  ordered: z.number(),
  updating: z.number(),
  succeeded: z.number(),
  failed: z.number(),
  withdrawn: z.number(),
  returning: z.number(),
  returned: z.number(),
})
const summarySchema = z.object({
  id: z.string(),
  family: z.string(),
  version: z.string().optional(),
  manifestDigest: z.string(),
  selector: z.string(),
  state: z.string(),
  wave: z.number(),
  waves: z.number(),
  reason: z.string(),
  createdAt: z.string(),
  createdBy: z.string(),
  counts: countsSchema,
})
const viewSchema = summarySchema.extend({
  waveList: z.array(
    z.object({
      wave: z.number(),
      endPct: z.number(),
      state: z.string(),
      counts: countsSchema,
      comparisons: z.array(
        z.object({
          metric: z.string(),
          method: z.string(),
          newDevices: z.number(),
          oldDevices: z.number(),
          changePct: z.number().optional(),
          tolerancePct: z.number(),
          pValue: z.number().optional(),
          isRegression: z.boolean(),
        }),
      ),
    }),
  ),
  actions: z.array(z.string()),
})
type View = z.infer<typeof viewSchema>
const membersSchema = z.object({
  members: z.array(
    z.object({
      device: z.string(),
      slot: z.string(),
      wave: z.number(),
      state: z.string(),
      reason: z.string().optional(),
      update: z
        .object({ state: z.string(), neededBytes: z.number(), fetchedBytes: z.number(), attempt: z.number() })
        .optional(),
    }),
  ),
  next: z.string().optional(),
})
type Member = z.infer<typeof membersSchema>['members'][number]
const previewSchema = z.object({
  total: z.number(),
  alreadyThere: z.number(),
  conflicts: z.array(z.string()),
  waves: z.array(
    z.object({
      wave: z.number(),
      endPct: z.number(),
      members: z.array(z.object({ device: z.string(), slot: z.string(), held: z.string().optional() })),
    }),
  ),
})

const BAR_CELLS = 24
const ENDED = ['stopped', 'done', 'rolled-back']

/** `#` is there, `x` failed, `~` on its way, `.` waits. */
function bar({ total, succeeded, returned, failed, ordered, updating, returning }: View['counts']): string {
  if (total === 0) return '.'.repeat(BAR_CELLS)
  const parts = [
    ['#', succeeded + returned],
    ['x', failed],
    ['~', ordered + updating + returning],
  ] as const
  const cells = parts.map(([mark, count]) => mark.repeat(Math.round((BAR_CELLS * count) / total))).join('')
  return cells.slice(0, BAR_CELLS).padEnd(BAR_CELLS, '.')
}

function countsInWords(counts: View['counts']): string {
  const words = Object.entries(counts).filter(([name, count]) => name !== 'total' && count > 0)
  return words.map(([name, count]) => `${count} ${name}`).join(', ') || 'nobody'
}

function formatView(view: View): string {
  const comparisons = view.waveList.flatMap(({ wave, comparisons: list }) =>
    list
      .filter(({ method }) => method !== 'none')
      .map((c) => [
        `wave ${wave}`,
        c.metric,
        `${c.changePct === undefined ? '-' : `${c.changePct > 0 ? '+' : ''}${c.changePct.toFixed(1)} %`}`,
        `${c.tolerancePct.toFixed(0)} %`,
        `${c.newDevices} / ${c.oldDevices}`,
        c.pValue === undefined ? c.method : `${c.method}, p ${c.pValue.toPrecision(2)}`,
        c.isRegression ? 'WORSE' : 'ok',
      ]),
  )
  return [
    `${view.id}  ${view.family} ${view.version ?? view.manifestDigest.slice(0, 12)}  to ${view.selector || 'all'}  by ${view.createdBy}, ${formatTime(view.createdAt)}`,
    `${view.state}: ${view.reason}`,
    '',
    ...view.waveList.map(
      ({ wave, endPct, state, counts }) =>
        `wave ${wave}  ${`${endPct} %`.padStart(6)}  [${bar(counts)}]  ${state.padEnd(8)}  ${countsInWords(counts)}`,
    ),
    ...(comparisons.length === 0
      ? []
      : ['', formatTable([['', 'COST', 'CHANGE', 'MAY BE', 'NEW / OLD', 'TEST', ''], ...comparisons])]),
    ...(view.actions.length === 0 ? [] : ['', `possible now: ${view.actions.join(', ')}`]),
  ].join('\n')
}

const formatMembers = (members: readonly Member[]): string =>
  members.length === 0
    ? 'no devices'
    : formatTable([
        ['DEVICE', 'WAVE', 'STATE', 'UPDATE', 'WHY'],
        ...members.map(({ device, slot, wave, state, reason, update }) => [
          `${device}/${slot}`,
          String(wave),
          state,
          update === undefined
            ? '-'
            : `${update.state}${update.state === 'fetch' ? ` ${Math.round((100 * update.fetchedBytes) / Math.max(1, update.neededBytes))} %` : ''}`,
          reason ?? '',
        ]),
      ])

const getView = async (api: string, id: string): Promise<View> =>
  viewSchema.parse(await callApi(api, `rollouts/${encodeURIComponent(id)}`))

async function getMembers(api: string, id: string): Promise<Member[]> {
  const all: Member[] = []
  for (let after: string | undefined; ; ) {
    const query = new URLSearchParams({ limit: '1000', ...(after === undefined ? {} : { after }) })
    const { members, next } = membersSchema.parse(
      await callApi(api, `rollouts/${encodeURIComponent(id)}/members?${query}`),
    )
    all.push(...members)
    if (next === undefined) return all
    after = next
  }
}

/** Show how it goes on standard error until it ends, waits for somebody, or is interrupted. */
async function watch(api: string, id: string): Promise<View> {
  let shown = 0
  let said = ''
  for (;;) {
    const view = await getView(api, id)
    const text = formatView(view)
    if (process.stderr.isTTY) {
      process.stderr.write(`${shown > 0 ? `\x1b[${shown}A\x1b[J` : ''}${text}\n`)
      shown = text.split('\n').length
    } else if (`${view.state} ${view.reason}` !== said) process.stderr.write(`${view.state}: ${view.reason}\n`)
    said = `${view.state} ${view.reason}`
    if (ENDED.includes(view.state) || view.state === 'paused') return view
    await delay(1000)
  }
}

interface CreateOptions extends ApiOptions {
  readonly to: string
  readonly selector: string
  readonly canaries?: string
  readonly waves?: number[]
  readonly soak?: number
  readonly successShare?: number
  readonly errorBudget?: number
  readonly stuckAfter?: number
  readonly tolerance?: Record<string, number>
  readonly hours?: { from: string; to: string }
  readonly timeZone?: string
  readonly unmeteredOnly?: true
  readonly approval?: true
  readonly onStop?: string
  readonly maxUpdating?: number
  readonly url?: string
  readonly start: boolean
  readonly preview?: true
  readonly watch?: true
}

const percent = (text: string): number => {
  const value = Number(text.replace(/\s*%$/, ''))
  if (!(value >= 0 && value <= 1000)) throw new SyntaxError(`Cannot read "${text}": expected percent`)
  return value
}

const parseWaves = (text: string): number[] => text.split(',').map(percent)

function parseHours(text: string): { from: string; to: string } {
  const match = /^(\d\d:\d\d)-(\d\d:\d\d)$/.exec(text)
  if (match === null) throw new SyntaxError(`Cannot read hours "${text}": expected e.g. "22:00-05:00"`)
  return { from: match[1]!, to: match[2]! }
}

const TOLERANCES = { latency: 'latencyP95', joules: 'joulesPerFrame', bits: 'bitsPerFrame' } as const

function parseTolerance(text: string): Record<string, number> {
  return Object.fromEntries(
    text.split(',').map((part) => {
      const [name, value] = part.split('=')
      const metric = TOLERANCES[name as keyof typeof TOLERANCES]
      if (metric === undefined || value === undefined)
        throw new SyntaxError(`Cannot read tolerance "${part}": expected e.g. "latency=15,joules=10,bits=10"`)
      return [metric, percent(value) / 100]
    }),
  )
}

/** A version's digest, by its version or by the beginning of the digest. */
async function findVersion(api: string, family: string, to: string): Promise<string> {
  const known = (await getFamilies(api)).filter((each) => each.family === family)
  const found = known.filter(({ version, manifestDigest }) => version === to || manifestDigest.startsWith(to))
  if (found.length === 1) return found[0]!.manifestDigest
  const list = known.map(({ version, manifestDigest }) => `${version} (${manifestDigest.slice(0, 12)})`).join(', ')
  throw new Error(
    `Cannot find "${to}" of "${family}": ${found.length > 1 ? 'several are called so, give the digest' : 'it is not there'}; there is ${list || 'none'}`,
  )
}

function specOf(family: string, manifestDigest: string, o: CreateOptions): object {
  const optional = {
    canaries: o.canaries,
    wavesPct: o.waves,
    soakS: o.soak,
    successShare: o.successShare === undefined ? undefined : o.successShare / 100,
    errorBudgetShare: o.errorBudget === undefined ? undefined : o.errorBudget / 100,
    stuckS: o.stuckAfter,
    tolerance: o.tolerance,
    hours: o.hours === undefined ? undefined : { ...o.hours, timeZone: o.timeZone },
    unmeteredOnly: o.unmeteredOnly,
    needsApproval: o.approval,
    onStop: o.onStop,
    maxUpdating: o.maxUpdating,
    url: o.url,
  }
  return { family, manifestDigest, selector: o.selector, start: o.start, ...optional }
}

async function create(family: string, options: CreateOptions): Promise<void> {
  const body = async () => specOf(family, await findVersion(options.api, family, options.to), options)
  if (options.preview) {
    await show(
      options,
      async () =>
        previewSchema.parse(await callApi(options.api, 'rollouts/preview', { method: 'POST', body: await body() })),
      ({ total, waves, alreadyThere, conflicts }) =>
        [
          `${total} slots${alreadyThere > 0 ? `, and ${alreadyThere} that have the version already` : ''}`,
          ...(conflicts.length > 0 ? [`would be refused: it overlaps ${conflicts.join(', ')}`] : []),
          ...waves.map(({ wave, endPct, members }) => {
            const names = members
              .slice(0, 8)
              .map(({ device, held }) => `${device}${held === undefined ? '' : ` (${held})`}`)
            return `wave ${wave}  ${`${endPct} %`.padStart(6)}  ${String(members.length).padStart(5)}  ${names.join(', ')}${members.length > 8 ? ', ...' : ''}`
          }),
        ].join('\n'),
    )
    return
  }
  await show(
    options,
    async () => {
      const view = viewSchema.parse(await callApi(options.api, 'rollouts', { method: 'POST', body: await body() }))
      return options.watch ? watch(options.api, view.id) : view
    },
    (view) => (options.watch && process.stderr.isTTY ? `${view.id} ${view.state}` : formatView(view)),
  )
}

async function act(id: string, action: string, options: ApiOptions & { readonly reason?: string }): Promise<void> {
  const body = options.reason === undefined ? {} : { reason: options.reason }
  await show(
    options,
    async () =>
      viewSchema.parse(
        await callApi(options.api, `rollouts/${encodeURIComponent(id)}/${action}`, { method: 'POST', body }),
      ),
    formatView,
  )
}

const wholeNumber = (text: string): number => {
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('expected a whole number from 1')
  return value
}

export function registerRolloutCommands(program: Command): void {
  const rollout = program.command('rollout').description('bring a version of a family to devices, in waves')
  withApi(rollout.command('list', { isDefault: true }))
    .description('all rollouts, the latest first')
    .action((options: ApiOptions) =>
      show(
        options,
        async () =>
          z.object({ rollouts: z.array(summarySchema) }).parse(await callApi(options.api, 'rollouts')).rollouts,
        (rollouts) =>
          rollouts.length === 0
            ? 'no rollouts: begin one with "espalier rollout create <family> --to <version>"'
            : formatTable([
                ['ROLLOUT', 'VERSION', 'TO', 'STATE', 'WAVE', '', 'WHY'],
                ...rollouts.map((r) => [
                  r.id,
                  r.version ?? r.manifestDigest.slice(0, 12),
                  r.selector || 'all',
                  r.state,
                  `${r.wave}/${r.waves}`,
                  `[${bar(r.counts)}] ${r.counts.succeeded}/${r.counts.total}`,
                  r.reason,
                ]),
              ]),
      ),
    )
  withApi(rollout.command('create'))
    .description('begin one; without options to 5, 25, 50 and 100 % of all devices that run the family')
    .argument('<family>')
    .requiredOption('--to <version>', 'a version that the controller has, or the beginning of its digest')
    .option('--selector <labels>', 'which devices, e.g. "site=local,kind in (cam,kiosk),!lab"', '')
    .option('--canaries <labels>', 'devices that come first; otherwise spread over sites and classes')
    .option('--waves <percents>', 'ends of the waves, e.g. 5,25,50,100', argument(parseWaves))
    .option('--soak <duration>', 'how long a wave is watched, e.g. 10m', argument(parseDuration))
    .option('--success-share <percent>', 'least share of a wave that must succeed; 90', argument(percent))
    .option('--error-budget <percent>', 'share of all devices that may fail; 5', argument(percent))
    .option('--stuck-after <duration>', 'without progress, a device has failed; 1h', argument(parseDuration))
    .option(
      '--tolerance <list>',
      'how much worse it may be, e.g. "latency=15,joules=10,bits=10"',
      argument(parseTolerance),
    )
    .option('--hours <from-to>', 'only then, in the time zone of the site, e.g. 22:00-05:00', argument(parseHours))
    .option('--time-zone <name>', 'of devices without the label "time-zone", e.g. Europe/Berlin')
    .option('--unmetered-only', 'devices with the label metered=true wait')
    .option('--approval', 'wait for "resume" after each wave')
    .addOption(new Option('--on-stop <what>', 'with devices that have it when it stops').choices(['hold', 'roll-back']))
    .option('--max-updating <count>', 'devices that update at one time; 200', wholeNumber)
    .option('--url <url>', 'where devices fetch it; otherwise from the controller')
    .option('--no-start', 'wait for "resume"')
    .option('--preview', 'show which device would be in which wave, and change nothing')
    .option('--watch', 'show how it goes until it ends')
    .action((family: string, options: CreateOptions) => create(family, options))
  withApi(rollout.command('show'))
    .description('its waves, and what was compared')
    .argument('<id>')
    .option('--devices', 'every device with its state')
    .option('--watch', 'show how it goes until it ends')
    .action((id: string, options: ApiOptions & { readonly devices?: true; readonly watch?: true }) =>
      show(
        options,
        async () => {
          const view = options.watch ? await watch(options.api, id) : await getView(options.api, id)
          return options.devices ? { ...view, members: await getMembers(options.api, id) } : view
        },
        (view) => ('members' in view ? `${formatView(view)}\n\n${formatMembers(view.members)}` : formatView(view)),
      ),
    )
  for (const [action, description] of [
    ['pause', 'order no more devices until it is resumed'],
    ['resume', 'go on; after a wave that waits for approval, with the next'],
    ['stop', 'end it; devices that have the version keep it'],
    ['roll-back', 'end it, and give every device the version that it had'],
  ] as const)
    withApi(rollout.command(action))
      .description(description)
      .argument('<id>')
      .option('--reason <text>', 'kept in the audit')
      .action((id: string, options: ApiOptions & { readonly reason?: string }) => act(id, action, options))
}
