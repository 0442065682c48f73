import type { EnergySource } from '@espalier/shared/messages/device'
import type { CommandRunner } from './run-command.ts'
import type { ApartReader, SystemFiles } from './system-files.ts'

interface Probe {
  readonly source: EnergySource
  /** Relative half-width of the 95 % interval of its scale. */
  readonly uncertainty: number
  /** Watts by which it may be off beside that: resolution, and what it cannot see. */
  readonly uncertaintyW?: number
  /** How often to look: no faster than it measures anew, and rarely enough that looking costs little. */
  readonly periodMs: number
  /** Another machine does the work: waiting for it costs nothing here. */
  readonly isRemote?: boolean
}

/** A sensor that says how much power flows now. */
export interface PowerProbe extends Probe {
  /**
   * @returns Watts.
   * @throws {StoreError} If that cannot be known now; never 0 W instead.
   */
  read(): number | Promise<number>
  /** The same beside the program, where somebody can; absent: nobody. */
  readonly readApart?: ApartReader | undefined
}

/** A sensor that counts. */
export interface EnergyProbe extends Probe {
  /** Reads at once, whenever asked; otherwise it is asked each period and answers later. */
  readonly isLocal: boolean
  /** Joules at which each counter starts again from zero; undefined: never. */
  readonly rangesJ: readonly (number | undefined)[]
  /**
   * @returns Joules of counters that do not overlap, always as many.
   * @throws {StoreError} If one of them cannot be known now; never 0 J instead.
   */
  read(): readonly number[] | Promise<readonly number[]>
}

/** What kinds of sources there are, the best first: what sees all of the board, and counts, before what does not. */
export const PREFERENCES = [
  'input-counter',
  'plug',
  'module-input',
  'board-input',
  'rail-sum',
  'regulators',
  'battery',
  'package',
] as const
export type Preference = (typeof PREFERENCES)[number]

/** A way of knowing the energy of this whole device. */
export interface Candidate {
  readonly preference: Preference
  /** As in `source` of what it measures. */
  readonly name: string
  /** Rails that are counted, none inside another. */
  readonly rails: readonly string[]
  /** Watts when it was found; undefined where one reading does not tell. */
  readonly watts: number | undefined
  /** What one should know before believing it. */
  readonly notes: readonly string[]
  readonly measures:
    | { readonly kind: 'power'; readonly probe: PowerProbe }
    | { readonly kind: 'energy'; readonly probe: EnergyProbe }
}

/** Something that is there and is not used. */
export interface Refusal {
  readonly name: string
  /**
   * `unreadable`: not allowed; `unavailable`: not now; `implausible`: reads nonsense; `inside`: part of what is counted
   * already; `unused`: says nothing about the energy of the device, or less than the chosen one.
   */
  readonly why: 'unreadable' | 'unavailable' | 'implausible' | 'inside' | 'unused'
  readonly reason: string
}

export interface Finding {
  readonly candidates: readonly Candidate[]
  readonly refused: readonly Refusal[]
}

/** Where system files are. */
export interface SystemPlace {
  /** Prefix of all paths, `/` on a real device. */
  readonly root: string
  readonly files: SystemFiles
}

/** What finding needs; a test hands in others. */
export interface SensorSurroundings extends SystemPlace {
  readonly run: CommandRunner
}
