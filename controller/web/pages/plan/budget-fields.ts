/** What a budget of a key may say; a budget is replaced as a whole. */
export interface BudgetBody {
  readonly rateBps?: number
  readonly powerW?: number
  readonly carbonGPerH?: number
  readonly gateway?: string
  readonly carbonGPerKwh?: number
}

export interface BudgetField {
  readonly field: 'rateBps' | 'powerW' | 'carbonGPerH'
  readonly name: string
  readonly unit: string
  /** Of the number that is typed, to the SI unit of the message. */
  readonly scale: number
}

const UPLINK: BudgetField = { field: 'rateBps', name: 'uplink', unit: 'kbit/s', scale: 1000 }
const POWER: BudgetField = { field: 'powerW', name: 'power', unit: 'W', scale: 1 }
const CARBON: BudgetField = { field: 'carbonGPerH', name: 'carbon', unit: 'g/h', scale: 1 }

export function fieldsOf(key: string): readonly BudgetField[] {
  if (key === 'fleet') return [POWER, CARBON]
  return key.startsWith('device:') ? [POWER] : [UPLINK]
}

/** A budget with one field set, or taken away by undefined; undefined when nothing is left of it. */
export function withField(
  before: BudgetBody | undefined,
  field: BudgetField['field'],
  value: number | undefined,
): BudgetBody | undefined {
  const { [field]: _old, ...rest } = before ?? {}
  const after = value === undefined ? rest : { ...rest, [field]: value }
  return Object.keys(after).length === 0 ? undefined : after
}

export const isSameBudget = (a: BudgetBody | undefined, b: BudgetBody | undefined): boolean =>
  JSON.stringify(Object.entries(a ?? {}).sort()) === JSON.stringify(Object.entries(b ?? {}).sort())

export function nameOfKey(key: string): string {
  const [kind, id] = key.split(':')
  return id === undefined ? 'The fleet' : `${kind![0]!.toUpperCase()}${kind!.slice(1)} ${id}`
}
