import { POLICIES } from '@espalier/controller/sim/policies'
import { InvalidArgumentError } from 'commander'

/** Names with commas between them, or `all`. */
export function parsePolicies(text: string): string[] {
  const names = text === 'all' ? Object.keys(POLICIES) : text.split(',')
  const unknown = names.find((name) => !Object.hasOwn(POLICIES, name))
  if (unknown !== undefined)
    throw new InvalidArgumentError(`"${unknown}" is no policy: expected all, ${Object.keys(POLICIES).join(', ')}.`)
  return names
}
