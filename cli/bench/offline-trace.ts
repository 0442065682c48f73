import { randomSequence } from '../random-sequence.ts'

/** What happens to a device and its scene, a value for each second; the same for every policy that is tried on it. */
export interface Trace {
  /** Natural logarithm of how much more a frame takes than the card says. */
  readonly content: readonly number[]
  /** How much longer and dearer a frame is than it should be: heat of all, other programs of one. */
  readonly slowdown: readonly number[]
}

/** Standard normal (Box and Muller 1958). */
function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
}

function autoregressive(random: () => number, seconds: number, { memory, sigma }: { memory: number; sigma: number }) {
  let value = sigma * normal(random)
  return Array.from({ length: seconds }, () => {
    value = memory * value + sigma * Math.sqrt(1 - memory ** 2) * normal(random)
    return value
  })
}

const CONTENT = { memory: 0.99, sigma: 0.15 }
const COMMON_CONTENT = { memory: 0.998, sigma: 0.1 }
/** A wave of heat through all devices: control protocol, +18 %. */
const THERMAL_WAVE = 0.18
const THERMAL_PERIOD_S = 1500
/** Another program starts on a device, once in so many seconds, and stays a while. */
const CONTENTION_EVERY_S = 900
const CONTENTION_S = 60
const CONTENTION_FACTOR = 1.4

/** Traces of the devices of one site: their scenes share a part of their content (weather, light). */
export function makeTraces(devices: number, seconds: number, seed: number): Trace[] {
  const common = autoregressive(randomSequence(seed), seconds, COMMON_CONTENT)
  return Array.from({ length: devices }, (_, i) => {
    const random = randomSequence(seed * 7919 + i + 1)
    const own = autoregressive(random, seconds, CONTENT)
    let busyUntilS = -1
    const slowdown = Array.from({ length: seconds }, (_, s) => {
      if (random() < 1 / CONTENTION_EVERY_S) busyUntilS = s + CONTENTION_S
      const heat = 1 + (THERMAL_WAVE / 2) * (1 - Math.cos((2 * Math.PI * s) / THERMAL_PERIOD_S))
      return heat * (s < busyUntilS ? CONTENTION_FACTOR : 1)
    })
    return { content: own.map((value, s) => value + common[s]!), slowdown }
  })
}
