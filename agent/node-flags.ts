/**
 * How Node is started for the control process; without them it runs as well, and takes more CPU. One thread collects
 * garbage: four of them took 40 ms of CPU together for a collection of 13 MB that takes one of them 20 (2 cores of AMD EPYC).
 * While the engine runs it cannot be told that any more. Workers have none of these flags.
 */
export const CONTROL_FLAGS: readonly string[] = ['--single-threaded-gc']
