import { z } from 'zod'

const id = '[a-z0-9][a-z0-9-]{0,62}'

export const budgetKeySchema = z
  .string()
  .regex(
    new RegExp(`^(fleet|(site|gateway|device):${id})$`),
    'a budget key is "fleet", or "site:", "gateway:" or "device:" and an id',
  )

const rateBps = z.number().min(0).max(1e12)
const powerW = z.number().min(0).max(1e6)

/** Everything that a budget may say; which of it by key: `BUDGET_FIELDS`. */
const fields = {
  /** Uplink of a site or gateway, bit/s. */
  rateBps: rateBps.optional(),
  /** Power of the fleet, or the most that one device may be planned to draw, W. */
  powerW: powerW.optional(),
  /** Of the fleet, g/h. */
  carbonGPerH: z.number().min(0).max(1e9).optional(),
  /** The gateway that a site's uplink goes through. */
  gateway: z
    .string()
    .regex(new RegExp(`^${id}$`))
    .optional(),
  /** Of the grid that feeds a site, g/kWh. */
  carbonGPerKwh: z.number().min(0).max(1e5).optional(),
}

export const budgetBodySchema = z.strictObject(fields)
export type BudgetBody = z.infer<typeof budgetBodySchema>

export const budgetSchema = z.strictObject({ key: budgetKeySchema, ...fields })

const BUDGET_FIELDS: Readonly<Record<string, readonly (keyof BudgetBody)[]>> = {
  fleet: ['powerW', 'carbonGPerH'],
  site: ['rateBps', 'gateway', 'carbonGPerKwh'],
  gateway: ['rateBps'],
  device: ['powerW'],
}

/** What a budget of this key may say. */
export function fieldsOf(key: string): readonly (keyof BudgetBody)[] {
  return BUDGET_FIELDS[key.split(':')[0]!] ?? []
}

/** @returns What is wrong; undefined if the key may be set to this. */
export function findMisfit(key: string, body: BudgetBody): string | undefined {
  const allowed = fieldsOf(key)
  const found = Object.keys(body)
  if (found.length > 0 && found.every((field) => (allowed as readonly string[]).includes(field))) return undefined
  return `Cannot set budget "${key}": found ${found.length === 0 ? 'nothing' : found.join(', ')}, expected ${allowed.join(', ')}`
}
