import { type EnergyWindow, windowBetween } from '@espalier/agent/meter/energy-window'
import { Meter } from '@espalier/agent/meter/meter'
import { PowerSampler } from '@espalier/agent/meter/power-sampler'

/** Power over time whose joules are known. */
export interface Trace {
  readonly name: string
  /** Watts at a time in seconds. */
  readonly watts: (seconds: number) => number
  readonly joules: (fromS: number, toS: number) => number
}

/** Integral of one period of a square wave that is high for `duty` of it, from 0 to `phase`. */
const highUntil = (phase: number, duty: number): number => Math.floor(phase) * duty + Math.min(phase % 1, duty)

export function makeTrace(kind: 'constant' | 'steps' | 'ripple' | 'in step', random: () => number): Trace {
  if (kind === 'constant') return { name: kind, watts: () => 5, joules: (from, to) => 5 * (to - from) }
  if (kind === 'steps') {
    const steps: Array<readonly [startS: number, watts: number]> = []
    for (let at = 0; at < 100; at += -Math.log(1 - random()) * 0.7) steps.push([at, 3 + 9 * random()])
    const watts = (at: number): number => steps.findLast(([startS]) => startS <= at)![1]
    const joules = (from: number, to: number): number =>
      steps.reduce((sum, [startS, w], i) => {
        const endS = steps[i + 1]?.[0] ?? Number.POSITIVE_INFINITY
        return sum + w * Math.max(0, Math.min(endS, to) - Math.max(startS, from))
      }, 0)
    return { name: kind, watts, joules }
  }
  // Frames at 30/s, each busy for 40 % of its time; or load in step with sampling at 100 Hz.
  const hz = kind === 'ripple' ? 30 : 100
  const shift = random()
  const joules = (from: number, to: number): number =>
    4 * (to - from) + (5 * (highUntil(to * hz + shift, 0.4) - highUntil(from * hz + shift, 0.4))) / hz
  return { name: kind, watts: (at) => ((at * hz + shift) % 1 < 0.4 ? 9 : 4), joules }
}

/** A sum of twelve has deviation 1 and is near enough to a bell. */
const noise = (random: () => number): number => Array.from({ length: 12 }, random).reduce((a, b) => a + b) - 6

/**
 * The agent's own sampler and meter over a trace: noise of 0.15 W on each reading, three readings in a hundred fail.
 *
 * @returns What the meter reports for a window of so many seconds, and what is true.
 */
export function measureTrace(
  trace: Trace,
  { windowS, sampleHz, random }: { windowS: number; sampleHz: number; random: () => number },
): { window: EnergyWindow; truthJ: number } {
  let nowMs = 0
  const clock = { monotonicMs: () => nowMs, wallMs: () => nowMs }
  const source = { source: 'trace', rail: 'all', scope: 'board', method: 'integral' } as const
  const probe = {
    source,
    uncertainty: 0,
    periodMs: 1,
    read: () => {
      if (random() < 0.03) throw new Error('EAGAIN')
      return trace.watts(nowMs / 1000) + 0.15 * noise(random)
    },
  }
  const sampler = new PowerSampler(probe, { clock, random, sampleHz, maxCpuShare: 1 })
  const meter = new Meter({
    counter: () => sampler,
    model: { idleW: 4, fullW: 12, uncertainty: 0 },
    cores: 4,
    slots: [],
    clock,
    onSensor: () => undefined,
  })
  const goTo = (endMs: number): void => {
    while (nowMs < endMs) {
      nowMs = Math.min(endMs, nowMs + (1000 / sampleHz) * (0.5 + random()))
      void sampler.sample()
    }
    meter.sample({ slots: new Map(), self: 0, device: 4 })
  }
  goTo(1000)
  const from = meter.mark()
  goTo(1000 + 1000 * windowS)
  const to = meter.mark()
  return { window: windowBetween(from, to), truthJ: trace.joules(from.atMs / 1000, to.atMs / 1000) }
}
