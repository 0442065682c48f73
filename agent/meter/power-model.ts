/** P = idleW + (fullW - idleW) x the share of cores that is busy. */
export interface PowerModel {
  /** Watts of the whole board with nothing to do. */
  readonly idleW: number
  /** Watts of the whole board with every core busy. */
  readonly fullW: number
  /** Relative half-width of the 95 % interval of both. */
  readonly uncertainty: number
}

export interface Board {
  readonly model: string
  readonly arch: string
  readonly cores: number
}

export interface BoardDescription extends Board {
  readonly memoryBytes: number
  /** Devices of one class share cards. */
  readonly deviceClass: string
}

/** Published idle and CPU-stress figures, Pi at the 5 V input, Jetson at the module's; the middle where sources differ. */
const BY_MODEL: ReadonlyArray<readonly [RegExp, idleW: number, fullW: number]> = [
  [/Raspberry Pi Zero 2/, 0.6, 2.5],
  [/Raspberry Pi 3 Model B Plus/, 1.9, 5.1],
  [/Raspberry Pi 3/, 1.4, 4],
  [/Raspberry Pi 4/, 2.9, 6.2],
  [/(Raspberry Pi|Compute Module) 5/, 3.3, 10],
  [/Jetson AGX Orin/, 7, 40],
  [/Jetson AGX Xavier/, 6.9, 30],
  [/Orin NX/, 4.6, 17],
  [/Orin Nano/, 4, 10],
  [/Jetson TX2/, 1.2, 14],
  [/Jetson Nano/, 1.1, 7],
]

/** By architecture and at most so many cores, for boards that are not known by name: rough middles of their kind. */
const BY_KIND: ReadonlyArray<readonly [arch: string, maxCores: number, idleW: number, fullW: number]> = [
  ['arm', 4, 1.5, 4],
  ['arm64', 4, 3, 7],
  ['arm64', 16, 6, 25],
  ['x64', 2, 5, 15],
  ['x64', 4, 6, 25],
  ['x64', 16, 12, 65],
]

/** Without a calibration against a meter. Of a Jetson the GPU is not in the model at all. */
const KNOWN_BOARD = 0.4
const KNOWN_KIND = 0.6
const UNKNOWN = 0.8

/** Curves of small boards lie between this power of the busy share and the straight line. */
const STEEPEST_EXPONENT = 0.7

/** A power model for a board that nobody has measured; its uncertainty says how little it knows. */
export function defaultPowerModel({ model, arch, cores }: Board): PowerModel {
  const named = BY_MODEL.find(([pattern]) => pattern.test(model))
  if (named !== undefined) {
    const uncertainty = model.includes('Raspberry') || model.includes('Compute Module') ? KNOWN_BOARD : KNOWN_KIND
    return { idleW: named[1], fullW: named[2], uncertainty }
  }
  const kind = BY_KIND.find(([itsArch, maxCores]) => itsArch === arch && cores <= maxCores)
  if (kind !== undefined) return { idleW: kind[2], fullW: kind[3], uncertainty: KNOWN_KIND }
  return { idleW: 5 + cores, fullW: 5 + 4 * cores, uncertainty: UNKNOWN }
}

/**
 * Watts by which the model may be off: idle and full load at the ends of their intervals, and the curve as steep as
 * it is on the boards where one busy core already raises clock and voltage for all.
 *
 * @param busyShare Of all cores, 0..1.
 */
export function modelHalfWidthW({ idleW, fullW, uncertainty }: PowerModel, busyShare: number): number {
  const share = Math.min(1, Math.max(0, busyShare))
  const watts = idleW + (fullW - idleW) * share
  const steepest = (idleW + (fullW - idleW) * share ** STEEPEST_EXPONENT) * (1 + uncertainty)
  return Math.max(steepest - watts, watts * uncertainty)
}
