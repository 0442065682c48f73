import type { Candidate } from '../sensors/candidate.ts'
import { DifferenceCounter } from './difference-counter.ts'
import type { EnergyCounter } from './energy-counter.ts'
import { PowerSampler, type SamplerOptions } from './power-sampler.ts'

/** How a sensor's joules are had: by differences where it counts, by integration where it does not. */
export function openCounter({ measures }: Candidate, options: SamplerOptions): EnergyCounter {
  return measures.kind === 'energy'
    ? new DifferenceCounter(measures.probe, options)
    : new PowerSampler(measures.probe, options)
}
