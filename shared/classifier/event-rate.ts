/** A classifier says what it sees at most so often: a label that flickers must not fill spool and uplink. */
export const MAX_EVENTS_PER_S = 1
/** A classification as a line of JSON, with a label and a number: what it takes until it is measured. */
export const LINE_BITS = 8 * 60
/** What an event takes beside its line: topic, envelope, when the picture was taken, the sentence for people. */
export const EVENT_OVERHEAD_BITS = 8 * 350

/**
 * Bits per second of a classifier whose label changes as often as it may be said: it never takes more.
 *
 * @param lineBits Of one classification, > 0.
 */
export function eventRateBps(lineBits: number, frameRate: number): number {
  return (lineBits + EVENT_OVERHEAD_BITS) * Math.min(frameRate, MAX_EVENTS_PER_S)
}
