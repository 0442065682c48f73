/** From this share of the cap on the agent says less. */
const NEAR_SHARE = 0.8
const NEAR_INTERVAL_S = 300
const OVER_INTERVAL_S = 3600

/**
 * How often to send telemetry on a link that is paid for: counters are cumulative, so less often costs resolution only.
 *
 * @param plannedS As the controller wants it.
 * @param capBytes For a month; undefined: no cap.
 */
export function paceTelemetry(plannedS: number, monthBytes: number, capBytes: number | undefined): number {
  if (capBytes === undefined || monthBytes < NEAR_SHARE * capBytes) return plannedS
  return Math.max(plannedS, monthBytes < capBytes ? NEAR_INTERVAL_S : OVER_INTERVAL_S)
}
