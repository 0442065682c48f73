import { fileURLToPath } from 'node:url'

/** A program of ours, as Node is started with it. */
export interface NodeProgram {
  readonly script: string
  readonly flags: readonly string[]
}

const program = (specifier: string, flags: readonly string[]): NodeProgram => ({
  script: fileURLToPath(import.meta.resolve(specifier)),
  flags,
})

/**
 * One thread collects the control process's garbage: four of them took 40 ms of CPU together for a collection of 13 MB that
 * takes one of them 20 (2 cores of AMD EPYC). While the engine runs it cannot be told that any more. Workers have none of these flags.
 */
export const CONTROL_FLAGS: readonly string[] = ['--single-threaded-gc']

/** The control process of an agent; without its flags it runs as well, and takes more CPU. */
export const agentProgram = (): NodeProgram => program('@espalier/agent/process', CONTROL_FLAGS)

export const controllerProgram = (): NodeProgram => program('@espalier/controller/process', [])
