import { TransportError } from '@espalier/shared/errors'
import { z } from 'zod'

/** What this program reads of a device in the controller's API; the API says more. */
const deviceSummarySchema = z.object({
  id: z.string(),
  state: z.string(),
  frames: z.number(),
  dropped: z.number(),
  unsent: z.number(),
  swaps: z.number(),
  latencyMs: z.object({ p50: z.number(), p95: z.number(), p99: z.number() }).optional(),
  joulesPerFrame: z
    .object({ value: z.number(), source: z.string(), interval: z.tuple([z.number(), z.number()]) })
    .optional(),
  powerW: z.number().optional(),
  bitsPerSecond: z.number().optional(),
  psnrDb: z.number().optional(),
  agreementPct: z.number().optional(),
  configurationId: z.string().optional(),
  desired: z.object({ gen: z.number() }).optional(),
})
export type DeviceSummary = z.infer<typeof deviceSummarySchema>

/** A request, with the name and password that the URL of the controller may hold. */
export async function requestApi(base: string, path: string, init: RequestInit): Promise<string> {
  const { origin, username, password } = new URL(base)
  const secret = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')
  const headers = { ...init.headers, ...(username === '' ? {} : { authorization: `Basic ${secret}` }) }
  const response = await fetch(new URL(`/api/v1/${path}`, origin), { ...init, headers }).catch((cause: unknown) => {
    throw new TransportError(
      `Cannot reach the controller at "${origin}": is it running? Start one with "espalier up"`,
      { cause, retryable: true },
    )
  })
  const text = await response.text()
  if (response.ok) return text
  throw new TransportError(`Cannot ${init.method ?? 'GET'} "${path}": ${response.status} ${reasonIn(text)}`, {
    retryable: false,
  })
}

function reasonIn(text: string): string {
  try {
    return z.object({ error: z.object({ message: z.string() }) }).parse(JSON.parse(text)).error.message
  } catch {
    return text
  }
}

/** @throws {TransportError} If the controller does not answer, or refuses. */
export async function callApi(base: string, path: string, init?: { method: string; body?: unknown }): Promise<unknown> {
  const text = await requestApi(base, path, {
    method: init?.method ?? 'GET',
    ...(init?.body === undefined
      ? {}
      : { body: JSON.stringify(init.body), headers: { 'content-type': 'application/json' } }),
  })
  return text === '' ? undefined : JSON.parse(text)
}

export async function getDevices(base: string): Promise<DeviceSummary[]> {
  return z.array(deviceSummarySchema).parse(await callApi(base, 'devices'))
}

const budgetsSchema = z.object({
  budgets: z.array(
    z.object({
      key: z.string(),
      rateBps: z.number().optional(),
      powerW: z.number().optional(),
      carbonGPerH: z.number().optional(),
      gateway: z.string().optional(),
      carbonGPerKwh: z.number().optional(),
    }),
  ),
})
export type FleetBudget = z.infer<typeof budgetsSchema>['budgets'][number]

export async function getBudgets(base: string): Promise<FleetBudget[]> {
  return budgetsSchema.parse(await callApi(base, 'budgets')).budgets
}

/** Cumulative figures of a device's first slot, to measure between two moments. */
const deviceTotalsSchema = z.object({
  atMs: z.number(),
  frames: z.number(),
  bits: z.number(),
  /** Attributed to the slot, its share of idle included. */
  joules: z.number(),
  deviceJoules: z.number(),
  idleW: z.number(),
  psnrSum: z.number(),
  psnrCount: z.number(),
})
export type DeviceTotals = z.infer<typeof deviceTotalsSchema>

export async function getTotals(base: string, device: string): Promise<DeviceTotals> {
  return deviceTotalsSchema.parse(await callApi(base, `devices/${device}/totals`))
}
