import { chooseByPrice } from '@espalier/shared/ladder/choose-by-price'
import { DEADLINE_SHARE } from '@espalier/shared/ladder/deadline'
import type { Instance, InstanceDevice, InstanceOption } from './instance.ts'
import type { Choice, Problem, Solution } from './problem.ts'
import { solve } from './solve.ts'

/** Why an option cannot be chosen on its device, whatever the budgets. */
type Refusal = 'floor' | 'memory' | 'deadline' | 'device power'

/** A shared budget under the plan, in the unit of its key. */
export interface InstanceRow {
  /** `site:<id>`, `gateway:<id>`, `power` or `carbon`. */
  readonly key: string
  readonly unit: 'bit/s' | 'W' | 'g/h'
  readonly limit: number
  /** Held by leases. */
  readonly reserved: number
  readonly planned: number
  /** Utility of one unit more. */
  readonly price: number
  readonly isKept: boolean
}

export interface InstancePlan {
  /** Utility, weights and bonuses for staying included; no plan exceeds the bounds. */
  readonly value: number
  /** Of the linear relaxation. */
  readonly bound: number
  /** Of the Lagrangian relaxation over whole choices. */
  readonly integerBound: number
  /** (bound - value) / bound. */
  readonly gap: number
  readonly rows: readonly InstanceRow[]
  readonly devices: readonly {
    readonly id: string
    readonly option: string
    readonly rateBps: number
    readonly powerW: number
    /** What the same prices would choose if the chosen option were not there. */
    readonly runnerUp?: string
    /** Rows with a price, and rules of the device that keep it from an option of more utility. */
    readonly binding: readonly string[]
  }[]
  readonly alarms: readonly string[]
}

function findRefusal(device: InstanceDevice, option: InstanceOption): Refusal | undefined {
  const { minQuality, memoryBytes, maxPowerW } = device
  if (minQuality !== undefined && (option.quality ?? minQuality) < minQuality) return 'floor'
  if (memoryBytes !== undefined && (option.memoryBytes ?? 0) > memoryBytes) return 'memory'
  if (maxPowerW !== undefined && option.powerW > maxPowerW) return 'device power'
  const { latencyMs, frameRate } = option
  if (latencyMs !== undefined && frameRate !== undefined && latencyMs > (1000 * DEADLINE_SHARE) / frameRate)
    return 'deadline'
  return undefined
}

function toChoice(instance: Instance, device: InstanceDevice, option: InstanceOption): Choice {
  const { model, option: same } = instance.stickiness
  const current = device.options.find(({ id }) => id === device.current)
  const isSameModel = current?.model !== undefined && current.model === option.model
  const bonus = (isSameModel ? model : 0) + (current?.id === option.id ? same : 0)
  return {
    id: option.id,
    rateBps: Math.ceil(option.rateBps),
    powerMw: Math.ceil(option.powerW * 1000),
    utility: Math.round(1e6 * device.weight * (option.utility + bonus)),
    rateSigmaBps: 0,
    powerSigmaMw: 0,
  }
}

interface Prepared {
  readonly device: InstanceDevice
  readonly refusals: ReadonlyMap<string, Refusal>
  readonly choices: readonly Choice[]
  readonly isForced: boolean
}

/** Where every option is refused the one of the least power remains: a device always runs something. */
function prepare(instance: Instance, device: InstanceDevice): Prepared {
  const refusals = new Map<string, Refusal>()
  for (const option of device.options) {
    const refusal = findRefusal(device, option)
    if (refusal !== undefined) refusals.set(option.id, refusal)
  }
  const allowed = device.options.filter(({ id }) => !refusals.has(id))
  const isForced = allowed.length === 0
  const left = isForced ? [device.options.reduce((a, b) => (b.powerW < a.powerW ? b : a))] : allowed
  return { device, refusals, choices: left.map((option) => toChoice(instance, device, option)), isForced }
}

interface Reserved {
  readonly site: (id: string) => number
  readonly gateway: (id: string) => number
  readonly powerMw: number
  readonly carbonUgPerH: number
}

function sumLeases({ leases, sites }: Instance, carbonOf: (site: string) => number): Reserved {
  const sum = (rate: (lease: Instance['leases'][number]) => number) =>
    Math.ceil(leases.reduce((total, lease) => total + rate(lease), 0))
  const gatewayOf = (site: string) => sites.find(({ id }) => id === site)?.gateway
  return {
    site: (id) => sum((l) => (l.site === id ? l.rateBps : 0)),
    gateway: (id) => sum((l) => (gatewayOf(l.site) === id ? l.rateBps : 0)),
    powerMw: sum((l) => l.powerW * 1000),
    carbonUgPerH: sum((l) => l.powerW * 1000 * carbonOf(l.site)),
  }
}

function bindingOf(prepared: Prepared, chosen: Choice, solution: Solution, gateway: string | undefined): string[] {
  const { device, refusals } = prepared
  const priced = [
    ...((solution.lambda.get(device.site) ?? 0) > 0 ? [`site:${device.site}`] : []),
    ...(gateway !== undefined && (solution.gamma.get(gateway) ?? 0) > 0 ? [`gateway:${gateway}`] : []),
    ...(solution.mu > 0 ? ['power'] : []),
    ...(solution.nu > 0 ? ['carbon'] : []),
  ]
  const isBest = prepared.choices.every(({ utility }) => utility <= chosen.utility)
  const utility = device.options.find(({ id }) => id === chosen.id)!.utility
  const local = device.options.filter((o) => o.utility > utility).map((o) => refusals.get(o.id))
  return [...(isBest ? [] : priced), ...new Set(local.filter((refusal) => refusal !== undefined))]
}

/** Solve an instance. Pure and deterministic; the order of its lists changes nothing but the order of the answer. */
export function planInstance(instance: Instance): InstancePlan {
  const siteOf = new Map(instance.sites.map((site) => [site.id, site]))
  const carbonOf = (site: string): number => Math.round(siteOf.get(site)?.carbonGPerKwh ?? 0)
  const reserved = sumLeases(instance, carbonOf)
  const prepared = instance.devices.map((device) => prepare(instance, device))
  const { powerW, carbonGPerH } = instance.fleet
  const limited = instance.sites.filter(({ rateBps }) => rateBps !== undefined)
  const problem: Problem = {
    slots: prepared.map(({ device, choices }) => ({
      key: device.id,
      site: device.site,
      choices,
      carbonGPerKwh: carbonOf(device.site),
    })),
    siteRateBps: new Map(limited.map(({ id, rateBps }) => [id, Math.floor(rateBps!) - reserved.site(id)])),
    gateways: new Map(
      instance.gateways.map(({ id, rateBps }) => [
        id,
        {
          rateBps: Math.floor(rateBps) - reserved.gateway(id),
          sites: instance.sites.filter(({ gateway }) => gateway === id).map((site) => site.id),
        },
      ]),
    ),
    fleetPowerMw: powerW === undefined ? undefined : Math.floor(powerW * 1000) - reserved.powerMw,
    fleetCarbonUgPerH: carbonGPerH === undefined ? undefined : Math.floor(carbonGPerH * 1e6) - reserved.carbonUgPerH,
  }
  const solution = solve(problem)
  const chosen = solution.chosen.map((c, i) => prepared[i]!.choices[c]!)

  const sum = (of: (choice: Choice, device: InstanceDevice) => number): number =>
    chosen.reduce((total, choice, i) => total + of(choice, prepared[i]!.device), 0)
  const row = (
    key: string,
    unit: InstanceRow['unit'],
    scale: number,
    limit: number,
    held: number,
    planned: number,
    price: number,
  ) => ({
    key,
    unit,
    limit,
    reserved: held / scale,
    planned: planned / scale,
    price: (price * scale) / 1e6,
    isKept: planned + held <= Math.floor(limit * scale),
  })
  const rows: InstanceRow[] = [
    ...limited.map(({ id, rateBps }) => {
      const planned = sum((c, d) => (d.site === id ? c.rateBps : 0))
      return row(`site:${id}`, 'bit/s', 1, rateBps!, reserved.site(id), planned, solution.lambda.get(id) ?? 0)
    }),
    ...instance.gateways.map(({ id, rateBps }) => {
      const planned = sum((c, d) => (siteOf.get(d.site)?.gateway === id ? c.rateBps : 0))
      return row(`gateway:${id}`, 'bit/s', 1, rateBps, reserved.gateway(id), planned, solution.gamma.get(id) ?? 0)
    }),
    ...(powerW === undefined
      ? []
      : [
          row(
            'power',
            'W',
            1e3,
            powerW,
            reserved.powerMw,
            sum((c) => c.powerMw),
            solution.mu,
          ),
        ]),
    ...(carbonGPerH === undefined
      ? []
      : [
          row(
            'carbon',
            'g/h',
            1e6,
            carbonGPerH,
            reserved.carbonUgPerH,
            sum((c, d) => c.powerMw * carbonOf(d.site)),
            solution.nu,
          ),
        ]),
  ]
  const [value, bound] = [solution.value / 1e6, solution.bound / 1e6]
  return {
    value,
    bound,
    integerBound: solution.integerBound / 1e6,
    gap: bound > 0 ? Math.max(0, (bound - value) / bound) : 0,
    rows,
    devices: prepared.map((each, i) => {
      const { device, choices } = each
      const gateway = siteOf.get(device.site)?.gateway
      const choice = chosen[i]!
      const others = choices.filter(({ id }) => id !== choice.id)
      const lambda = (solution.lambda.get(device.site) ?? 0) + (solution.gamma.get(gateway ?? '') ?? 0)
      const mu = solution.mu + solution.nu * carbonOf(device.site)
      return {
        id: device.id,
        option: choice.id,
        rateBps: choice.rateBps,
        powerW: choice.powerMw / 1000,
        ...(others.length === 0 ? {} : { runnerUp: chooseByPrice(others, { lambda, mu }).id }),
        binding: bindingOf(each, choice, solution, gateway),
      }
    }),
    alarms: [
      ...prepared
        .filter(({ isForced }) => isForced)
        .map(
          ({ device }) =>
            `Cannot keep the limits of device "${device.id}": every option breaks one, the least power runs`,
        ),
      ...rows
        .filter(({ isKept }) => !isKept)
        .map(
          (r) =>
            `Cannot keep "${r.key}": the plan needs ${r.planned} ${r.unit} beside ${r.reserved} reserved, expected at most ${r.limit}`,
        ),
    ],
  }
}
