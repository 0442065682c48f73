import type { ClockQuality } from '@espalier/shared/messages/envelope'
import { isTrusted } from '../time/time-mark.ts'

export interface FetchPolicy {
  /** Every byte is paid for. */
  readonly isLinkMetered: boolean
  /** What one update may need on a metered link. */
  readonly meteredMaxBytes: number
  /** What updates may take in a calendar month; undefined: no cap. */
  readonly fetchMonthlyBytes: number | undefined
  /** What all of the agent may take in a calendar month; undefined: no cap. */
  readonly monthlyBytes: number | undefined
  /** Hours of the day, UTC, in which updates may be fetched; `from` > `to` is over midnight. Undefined: always. */
  readonly fetchHours: { readonly from: number; readonly to: number } | undefined
}

export interface FetchSituation {
  /** What the update still needs, and needed in all. */
  readonly remainingBytes: number
  readonly neededBytes: number
  /** Of this month so far: by updates, and by all of the agent. */
  readonly fetchedThisMonthBytes: number
  readonly monthBytes: number
  readonly wallMs: number
  readonly clk: ClockQuality
}

function isWithin({ from, to }: { readonly from: number; readonly to: number }, wallMs: number): boolean {
  const date = new Date(wallMs)
  const hour = date.getUTCHours() + date.getUTCMinutes() / 60
  return from <= to ? hour >= from && hour < to : hour >= from || hour < to
}

/**
 * Why a download must wait, as a sentence for people; undefined if it may go on. Nothing is fetched in the hope that it
 * will be little: blobs are named by content, so what an update needs is known before its first byte.
 */
export function findFetchObstacle(policy: FetchPolicy, now: FetchSituation): string | undefined {
  const { isLinkMetered, meteredMaxBytes, fetchMonthlyBytes, monthlyBytes, fetchHours } = policy
  if (now.remainingBytes === 0) return undefined
  if (isLinkMetered && now.neededBytes > meteredMaxBytes)
    return `waits: it needs ${now.neededBytes} bytes on a metered link, where an update may take ${meteredMaxBytes} (meteredMaxBytes)`
  if (fetchMonthlyBytes !== undefined && now.fetchedThisMonthBytes + now.remainingBytes > fetchMonthlyBytes)
    return `waits for the next month: updates took ${now.fetchedThisMonthBytes} bytes of ${fetchMonthlyBytes} (fetchMonthlyBytes), ${now.remainingBytes} are needed`
  if (monthlyBytes !== undefined && now.monthBytes + now.remainingBytes > monthlyBytes)
    return `waits for the next month: ${now.monthBytes} bytes of ${monthlyBytes} (monthlyBytes) are used, ${now.remainingBytes} are needed`
  if (fetchHours === undefined) return undefined
  const hours = `from ${fetchHours.from} to ${fetchHours.to} h UTC (fetchHours)`
  if (!isTrusted(now.clk)) return `waits: updates are fetched ${hours}, and this device does not know the time`
  return isWithin(fetchHours, now.wallMs) ? undefined : `waits: updates are fetched ${hours}`
}
