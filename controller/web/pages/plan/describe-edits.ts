import { type BudgetBody, fieldsOf, nameOfKey } from './budget-fields.ts'

/** One line for each field that changes. */
export function describeEdits(
  present: ReadonlyMap<string, BudgetBody>,
  edits: ReadonlyMap<string, BudgetBody | undefined>,
): string[] {
  return [...edits].flatMap(([key, after]) =>
    fieldsOf(key).flatMap(({ field, name, unit, scale }) => {
      const [from, to] = [present.get(key)?.[field], after?.[field]]
      const say = (value: number | undefined) => (value === undefined ? 'no budget' : `${value / scale} ${unit}`)
      return from === to ? [] : [`${nameOfKey(key)}, ${name}: ${say(from)} → ${say(to)}`]
    }),
  )
}
