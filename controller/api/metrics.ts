import { addCounts, type HistogramCounts } from '@espalier/shared/histogram'
import { stateSchema } from '@espalier/shared/messages/device'
import type { Alerts } from '../alert/alerts.ts'
import type { DeviceRecord } from '../ingest/fleet.ts'
import type { Ingest } from '../ingest/ingest.ts'
import type { Plan } from '../plan/plan-fleet.ts'
import { measureDevice } from '../planner/measure.ts'
import { MEMBER_STATES } from '../rollout/rollout.ts'
import type { Rollouts } from '../rollout/rollouts.ts'
import type { ViewSources } from './views.ts'

type Labels = Readonly<Record<string, string>>
interface Metric {
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly samples: { readonly suffix?: string; readonly labels: Labels; readonly value: number }[]
}

/** Every sixteenth bound of the log buckets (two octaves) is enough for alerting and keeps series few. */
const BUCKET_STEP = 16

const escapeLabel = (text: string): string =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

function formatMetric([name, { type, help, samples }]: readonly [string, Metric]): string {
  const lines = samples.map(({ suffix, labels, value }) => {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`)
    return `${name}${suffix ?? ''}${pairs.length > 0 ? `{${pairs.join(',')}}` : ''} ${value}`
  })
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ''].join('\n')
}

/** Histograms stand for device classes, not devices: otherwise series grow with the fleet. */
function histogramSamples(counts: HistogramCounts, labels: Labels): Metric['samples'] {
  const buckets = Object.entries(counts)
    .map(([bucket, count]) => [Number(bucket), count] as const)
    .sort(([a], [b]) => a - b)
  const total = buckets.reduce((sum, [, count]) => sum + count, 0)
  const bounds = [...new Set(buckets.map(([bucket]) => Math.ceil(bucket / BUCKET_STEP) * BUCKET_STEP))]
  return [
    ...bounds.map((bound) => ({
      suffix: '_bucket',
      labels: { ...labels, le: String(2 ** (bound / 8)) },
      value: buckets.filter(([bucket]) => bucket <= bound).reduce((sum, [, count]) => sum + count, 0),
    })),
    { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: total },
    { suffix: '_sum', labels, value: buckets.reduce((sum, [bucket, n]) => sum + n * 2 ** ((bucket - 0.5) / 8), 0) },
    { suffix: '_count', labels, value: total },
  ]
}

/** Devices name their class themselves: more classes than this are counted as one, so that no device makes series without end. */
const MOST_CLASSES = 50
const OTHER_CLASSES = 'other'

/** What people steer, beside devices and the plan. */
export interface Operations {
  readonly rollouts: Pick<Rollouts, 'list' | 'members'>
  readonly alerts: Pick<Alerts, 'rules' | 'states'>
}

/**
 * The state of the fleet in Prometheus' text format. Devices have counters and gauges, about a dozen each; histograms are of
 * device classes. No label is a digest, boot, command, rollout or time: such series end and are never used again.
 */
export function formatMetrics(
  devices: readonly DeviceRecord[],
  plan: Plan | undefined,
  counts: ReturnType<Ingest['counts']>,
  sources: ViewSources,
  { rollouts, alerts }: Operations,
): string {
  const metrics = new Map<string, Metric>()
  const define = (name: string, type: Metric['type'], help: string): Metric['samples'] => {
    const metric: Metric = { type, help, samples: [] }
    metrics.set(name, metric)
    return metric.samples
  }
  const frames = define('espalier_inference_frames_total', 'counter', 'Frames encoded.')
  const dropped = define('espalier_inference_dropped_total', 'counter', 'Frames skipped because the slot was slow.')
  const misses = define('espalier_inference_misses_total', 'counter', 'Frames later than their interval.')
  const energy = define('espalier_inference_energy_joules_total', 'counter', 'Energy of slots, share of idle included.')
  const bytes = define('espalier_link_bytes_total', 'counter', 'Bytes encoded for the uplink.')
  const wire = define(
    'espalier_agent_wire_bytes_total',
    'counter',
    'Bytes that agents sent and received, uplink included.',
  )
  const swaps = define('espalier_swaps_total', 'counter', 'Changes of configuration.')
  const duration = define('espalier_inference_duration_seconds', 'histogram', 'Arrival of a frame to its stream.')
  const power = define('espalier_device_power_watts', 'gauge', 'Power of devices over ten seconds.')
  const rate = define('espalier_uplink_bits_per_second', 'gauge', 'Rate of devices over ten seconds.')

  const latencies = new Map<string, HistogramCounts>()
  for (const device of devices) {
    const measured = measureDevice(device, sources)
    const name = { device: device.id }
    if (measured.powerW !== undefined) power.push({ labels: name, value: measured.powerW })
    if (measured.bitsPerSecond !== undefined) rate.push({ labels: name, value: measured.bitsPerSecond })
    const { link } = measured.totals ?? {}
    if (link !== undefined)
      wire.push(
        { labels: { ...name, direction: 'sent' }, value: link.txBytes },
        { labels: { ...name, direction: 'received' }, value: link.rxBytes },
      )
    for (const slot of measured.totals?.slots ?? []) {
      const labels = { device: device.id, slot: slot.slot }
      frames.push({ labels, value: slot.frames })
      dropped.push({ labels, value: slot.dropped })
      misses.push({ labels, value: slot.late })
      energy.push({ labels, value: slot.joules })
      bytes.push({ labels, value: slot.bits / 8 })
      swaps.push({ labels, value: slot.swaps })
      const own = device.birth?.deviceClass ?? 'unknown'
      const deviceClass = latencies.has(own) || latencies.size < MOST_CLASSES ? own : OTHER_CLASSES
      latencies.set(deviceClass, addCounts(latencies.get(deviceClass) ?? {}, slot.latency))
    }
  }
  for (const [deviceClass, histogram] of latencies)
    duration.push(...histogramSamples(histogram, { class: deviceClass }))

  const site = define('espalier_site_price', 'gauge', 'Utility per bit/s of a site.')
  const budget = define('espalier_site_budget_bits_per_second', 'gauge', 'Uplink budget of a site.')
  for (const [id, row] of plan?.sites ?? []) {
    site.push({ labels: { site: id }, value: row.lambda })
    budget.push({ labels: { site: id }, value: row.total })
  }
  const fleetPrice = define('espalier_fleet_power_price', 'gauge', 'Utility per watt of the fleet.')
  fleetPrice.push({ labels: {}, value: plan?.power?.mu ?? 0 })
  const price = define('espalier_budget_price', 'gauge', 'Utility of one unit more of a budget.')
  const limit = define('espalier_budget_limit', 'gauge', 'Limit of a budget, in its unit.')
  const planned = define('espalier_budget_planned', 'gauge', 'What is planned of a budget, margin left out.')
  for (const row of plan?.rows ?? []) {
    const labels = { budget: row.key, unit: row.unit }
    price.push({ labels, value: row.price })
    limit.push({ labels, value: row.limit })
    planned.push({ labels, value: row.planned })
  }
  const utility = define('espalier_plan_utility', 'gauge', 'Utility of the plan.')
  const bound = define('espalier_plan_bound', 'gauge', 'Utility that no plan exceeds, by the linear relaxation.')
  const whole = define('espalier_plan_integer_bound', 'gauge', 'Utility that no plan of whole choices exceeds.')
  const gap = define('espalier_plan_gap_ratio', 'gauge', 'How far the plan can be from the best one.')
  if (plan !== undefined) {
    utility.push({ labels: {}, value: plan.value })
    bound.push({ labels: {}, value: plan.bound })
    whole.push({ labels: {}, value: plan.integerBound })
  }
  gap.push({ labels: {}, value: plan?.gap ?? 0 })
  const inState = define('espalier_devices', 'gauge', 'Devices by the state that they say.')
  for (const state of stateSchema.shape.state.options)
    inState.push({ labels: { state }, value: devices.filter((device) => device.state === state).length })
  const brought = define('espalier_rollout_slots', 'gauge', 'Slots by what the latest rollout of a family did to them.')
  for (const [family, id] of new Map(rollouts.list().map(({ id, spec }) => [spec.family, id]))) {
    const members = [...rollouts.members(id).values()]
    for (const state of MEMBER_STATES)
      brought.push({ labels: { family, state }, value: members.filter((member) => member.state === state).length })
  }
  const firing = define('espalier_alerts_firing', 'gauge', 'Subjects of which a rule is true, and was for long enough.')
  const fires = alerts.states().filter(({ state }) => state === 'firing')
  for (const { id, severity } of alerts.rules())
    firing.push({ labels: { rule: id, severity }, value: fires.filter(({ rule }) => rule === id).length })
  const messages = define('espalier_messages_total', 'counter', 'Messages from devices.')
  for (const [result, value] of Object.entries(counts)) messages.push({ labels: { result }, value })
  return [...metrics].map(formatMetric).join('')
}
