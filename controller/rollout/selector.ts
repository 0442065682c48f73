import { z } from 'zod'

/** One condition on a label, as in Kubernetes label selectors. */
export type Requirement =
  | { readonly kind: 'in' | 'not-in'; readonly key: string; readonly values: readonly string[] }
  | { readonly kind: 'exists' | 'absent'; readonly key: string }

/** Every requirement must hold; none: everything matches. */
export type Selector = readonly Requirement[]

export type Labels = Readonly<Record<string, string>>

const KEY = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/
const VALUE = /^[^\s,()=!]{1,255}$/

/** Split at commas that are not in parentheses. */
function splitTerms(text: string): string[] {
  return text.split(/,(?![^(]*\))/).map((term) => term.trim())
}

function parseTerm(term: string, text: string): Requirement {
  const fail = (found: string, wanted: string): never => {
    throw new SyntaxError(`Cannot read selector "${text}": found ${found}, expected ${wanted}`)
  }
  const key = (name: string): string => (KEY.test(name) ? name : fail(`"${name}"`, 'the name of a label'))
  const value = (name: string): string => (VALUE.test(name) ? name : fail(`"${name}"`, 'the value of a label'))
  const set = /^(\S+)\s+(in|notin)\s*\(([^()]*)\)$/.exec(term)
  if (set !== null)
    return {
      kind: set[2] === 'in' ? 'in' : 'not-in',
      key: key(set[1]!),
      values: set[3]!.split(',').map((each) => value(each.trim())),
    }
  const equality = /^([^\s=!]+)\s*(==|=|!=)\s*(\S+)$/.exec(term)
  if (equality !== null)
    return {
      kind: equality[2] === '!=' ? 'not-in' : 'in',
      key: key(equality[1]!),
      values: [value(equality[3]!)],
    }
  if (term.startsWith('!')) return { kind: 'absent', key: key(term.slice(1).trim()) }
  return /\s/.test(term) || term === ''
    ? fail(`"${term}"`, 'label, !label, label=value, label!=value, label in (a,b) or label notin (a,b)')
    : { kind: 'exists', key: key(term) }
}

/**
 * Read a label selector: `site=local,kind in (cam,kiosk),!lab`. As in Kubernetes, `!=` and `notin` also match where the
 * label is absent (kubernetes.io/docs/concepts/overview/working-with-objects/labels).
 *
 * @throws {SyntaxError} If the text is none.
 */
export function parseSelector(text: string): Selector {
  return text.trim() === '' ? [] : splitTerms(text).map((term) => parseTerm(term, text))
}

/** The text of a selector, checked. */
export const selectorTextSchema = z
  .string()
  .max(1000)
  .superRefine((text, context) => {
    try {
      parseSelector(text)
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message })
    }
  })

function meets(requirement: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined
  switch (requirement.kind) {
    case 'in':
      return value !== undefined && requirement.values.includes(value)
    case 'not-in':
      return value === undefined || !requirement.values.includes(value)
    case 'exists':
      return value !== undefined
    case 'absent':
      return value === undefined
  }
}

export const matchesSelector = (selector: Selector, labels: Labels): boolean =>
  selector.every((requirement) => meets(requirement, labels))

/**
 * Whether one device could match both, whatever its labels are. Keys are independent of each other, so this is exact.
 *
 * @param always Keys that every device has.
 */
export function couldOverlap(a: Selector, b: Selector, always: readonly string[] = []): boolean {
  const requirements = [...a, ...b]
  const keys = new Set(requirements.map(({ key }) => key))
  return [...keys].every((key) => {
    const own = requirements.filter((r) => r.key === key)
    // Either the label is absent, or it has one of the values that are named, or one that nobody names.
    const named = own.flatMap((r) => ('values' in r ? r.values : []))
    const candidates: (Labels | undefined)[] = [...new Set(named)].map((value) => ({ [key]: value }))
    candidates.push({ [key]: '\u0000' })
    if (!always.includes(key)) candidates.push({})
    return candidates.some((labels) => own.every((r) => meets(r, labels!)))
  })
}
