/** Why joules of a device are not believed. */
export type FaultKind = 'jumps' | 'stuck' | 'implausible'

/** What is remembered of a device's power sensor. */
export interface SensorState {
  readonly fault: FaultKind | undefined
  /** Jumps lately: one each, fading by a tenth a window. */
  readonly jumps: number
  /** Windows in a row with the very same power, and that power. */
  readonly same: number
  readonly watts: number
  /** Windows in a row far from the class. */
  readonly far: number
  /** Windows in a row without a sign of any fault. */
  readonly sound: number
}

export const startSensor: SensorState = { fault: undefined, jumps: 0, same: 0, watts: Number.NaN, far: 0, sound: 0 }

/** What one window says of the sensor. */
export interface PowerWindow {
  /** Mean of all that was attributed, W. */
  readonly watts: number
  /** Frames that were done: work without joules is a fault, rest without joules is not. */
  readonly frames: number
  /** Logarithm of measured / expected J/frame by what this device was so far; undefined without frames. */
  readonly deviation: number | undefined
  /** The same by what its class is, with the deviation of devices in it; undefined where too few are known. */
  readonly fromClass: { readonly deviation: number; readonly sigma: number } | undefined
  /** Computed from utilisation, not read: there is no sensor that could fail. */
  readonly isModelled: boolean
}

/** No load changes by this within one window and back. */
const JUMP = Math.log(3)
const MOST_JUMPS = 4
/** A sensor has noise: so many windows with the same reading to the last digit are no readings. */
const MOST_SAME = 30
/** Boards of one class differ by a quarter; a wrong shunt or unit is off by factors. */
const FAR = Math.log(4)
const FAR_SIGMAS = 5
const MOST_FAR = 20
/** So many sound windows in a row before it is believed again. */
const SOUND = 60

/** Take in a window. Pure; `fault` of the result says whether the device's joules are believed now. */
export function updateSensor(state: SensorState, window: PowerWindow): SensorState {
  const { watts, frames, deviation, fromClass, isModelled } = window
  if (isModelled) return startSensor
  const isJump = deviation !== undefined && !(Math.abs(deviation) < JUMP)
  const isSame = watts === state.watts || (frames > 0 && !(watts > 0))
  const isFar =
    fromClass !== undefined && !(Math.abs(fromClass.deviation) < Math.max(FAR, FAR_SIGMAS * fromClass.sigma))
  const jumps = 0.9 * state.jumps + (isJump ? 1 : 0)
  const same = isSame ? state.same + 1 : 0
  const far = isFar ? state.far + 1 : 0
  const sound = isJump || isSame || isFar ? 0 : state.sound + 1
  const found: FaultKind | undefined =
    same >= MOST_SAME ? 'stuck' : far >= MOST_FAR ? 'implausible' : jumps > MOST_JUMPS ? 'jumps' : undefined
  const fault = found ?? (sound >= SOUND ? undefined : state.fault)
  return { fault, jumps, same, watts, far, sound }
}
