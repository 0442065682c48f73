/** A frame must be done within this share of its interval: what is planned, what a device does alone, and what is simulated. */
export const DEADLINE_SHARE = 0.97
