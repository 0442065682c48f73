import { addCounts } from '@espalier/shared/histogram'
import type { Telemetry } from '@espalier/shared/messages/device'

type Slot = Telemetry['slots'][number]
type Energy = Telemetry['energy'][number]

const COUNTED = [
  'frames',
  'dropped',
  'unsent',
  'late',
  'swaps',
  'bits',
  'joules',
  'idleJoules',
  'psnrSum',
  'psnrCount',
] as const satisfies readonly (keyof Slot)[]

/** Absent from slots of other tasks. */
const COUNTED_OF_CLASSIFIERS = ['agreements', 'comparisons'] as const satisfies readonly (keyof Slot)[]

type Combine = (a: number, b: number) => number

function combineSlots(a: Slot | undefined, b: Slot | undefined, combine: Combine, latency: Slot['latency']): Slot {
  const present = (b ?? a)!
  const fields = [
    ...COUNTED,
    ...COUNTED_OF_CLASSIFIERS.filter((field) => a?.[field] !== undefined || b?.[field] !== undefined),
  ]
  const counted = Object.fromEntries(fields.map((field) => [field, combine(a?.[field] ?? 0, b?.[field] ?? 0)]))
  return { ...present, ...(counted as Pick<Slot, (typeof COUNTED)[number]>), latency }
}

const energyKey = ({ source, rail, scope, method }: Energy): string => [source, rail, scope, method].join(' ')

function combineEnergy(a: Energy | undefined, b: Energy | undefined, combine: Combine): Energy {
  return {
    ...(b ?? a)!,
    joules: combine(a?.joules ?? 0, b?.joules ?? 0),
    idleJoules: combine(a?.idleJoules ?? 0, b?.idleJoules ?? 0),
  }
}

function pairs<T>(a: readonly T[], b: readonly T[], key: (t: T) => string): [T | undefined, T | undefined][] {
  const [byA, byB] = [new Map(a.map((t) => [key(t), t])), new Map(b.map((t) => [key(t), t]))]
  return [...new Set([...byA.keys(), ...byB.keys()])].map((k) => [byA.get(k), byB.get(k)])
}

function maxCounts(a: Slot['latency'], b: Slot['latency']): Slot['latency'] {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)])
  return Object.fromEntries([...keys].map((k) => [k, Math.max(a[k] ?? 0, b[k] ?? 0)]))
}

function combineLinks(a: Telemetry['link'], b: Telemetry['link'], combine: Combine): Telemetry['link'] {
  if (a === undefined || b === undefined) return b ?? a
  return { ...b, txBytes: combine(a.txBytes, b.txBytes), rxBytes: combine(a.rxBytes, b.rxBytes) }
}

/** Grams count up like joules; the intensity is the later one's. */
function combineCarbon(a: Telemetry['carbon'], b: Telemetry['carbon'], combine: Combine): Telemetry['carbon'] {
  if (a === undefined || b === undefined) return b ?? a
  return { ...b, grams: combine(a.grams, b.grams) }
}

function combineTelemetry(
  a: Telemetry,
  b: Telemetry,
  combine: Combine,
  histograms: (a: Slot['latency'], b: Slot['latency']) => Slot['latency'],
): Telemetry {
  const link = combineLinks(a.link, b.link, combine)
  const carbon = combineCarbon(a.carbon, b.carbon, combine)
  const [idle, machine] = [b.idle ?? a.idle, b.machine ?? a.machine]
  return {
    ...(link === undefined ? {} : { link }),
    ...(carbon === undefined ? {} : { carbon }),
    ...(idle === undefined ? {} : { idle }),
    ...(machine === undefined ? {} : { machine }),
    energy: pairs(a.energy, b.energy, energyKey).map(([x, y]) => combineEnergy(x, y, combine)),
    slots: pairs(a.slots, b.slots, ({ slot }) => slot).map(([x, y]) =>
      combineSlots(x, y, combine, histograms(x?.latency ?? {}, y?.latency ?? {})),
    ),
    self: {
      ...b.self,
      cpuSeconds: combine(a.self.cpuSeconds, b.self.cpuSeconds),
      joules: combine(a.self.joules, b.self.joules),
      spoolDropped: combine(a.self.spoolDropped, b.self.spoolDropped),
      workerRestarts: combine(a.self.workerRestarts, b.self.workerRestarts),
    },
  }
}

/** Counters of two boots, one after the other; what is no counter is the later one's. */
export function addTelemetry(earlier: Telemetry, later: Telemetry): Telemetry {
  return combineTelemetry(earlier, later, (a, b) => a + b, addCounts)
}

/** Counters of one boot: a device that counts back is held at what it had counted. */
export function holdCounters(earlier: Telemetry, later: Telemetry): Telemetry {
  return combineTelemetry(earlier, later, Math.max, maxCounts)
}
