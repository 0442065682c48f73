import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { ConfigError, describeError } from '@espalier/shared/errors'

/** May use the API from beyond this machine; device ids never start with `_`. Several have names: `_operator-kim`. */
export const OPERATOR = '_operator'

export const isOperator = (name: string): boolean => name === OPERATOR || name.startsWith(`${OPERATOR}-`)

export interface Passwords {
  /** Whether the password is that of the name; false for unknown names. */
  matches(name: string, password: string): boolean
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/**
 * Read lines of `name:sha256 of the password in hexadecimal`; `#` starts a comment. Passwords are expected to be
 * random tokens: a fast digest protects those as well as a slow one would.
 *
 * @throws {ConfigError} If the file cannot be read or a line is of another form.
 */
export function readPasswords(path: string): Passwords {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (cause) {
    throw new ConfigError(`Cannot read passwords "${path}": ${describeError(cause)}`, { cause })
  }
  const digests = new Map<string, Buffer>()
  for (const [i, line] of text.split('\n').entries()) {
    if (/^\s*(#|$)/.test(line)) continue
    const match = /^\s*(_?[a-z0-9][a-z0-9-]*):([0-9a-f]{64})\s*$/.exec(line)
    if (match === null)
      throw new ConfigError(`Cannot read passwords "${path}": line ${i + 1} is not of the form name:sha256`)
    digests.set(match[1]!, Buffer.from(match[2]!, 'hex'))
  }
  // Unknown names cost the same time as known ones.
  const nobody = Buffer.alloc(32)
  return {
    matches: (name, password) => timingSafeEqual(digest(password), digests.get(name) ?? nobody) && digests.has(name),
  }
}

/** Name and password of an `Authorization: Basic` header; undefined if it is none. */
export function parseBasic(header: string | undefined): { name: string; password: string } | undefined {
  const encoded = /^Basic ([A-Za-z0-9+/=]+)$/.exec(header ?? '')?.[1]
  if (encoded === undefined) return undefined
  const text = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  return colon < 0 ? undefined : { name: text.slice(0, colon), password: text.slice(colon + 1) }
}
