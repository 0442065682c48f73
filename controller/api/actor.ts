import type { FastifyRequest } from 'fastify'
import { isOperator, type Passwords, parseBasic } from '../broker/passwords.ts'
import type { Actor } from '../store/audit.ts'

/** Who asks: the operator whose credentials came with the request, or whoever may use this machine. */
export function actorOf(request: FastifyRequest, passwords: Passwords | undefined): Actor {
  const given = parseBasic(request.headers.authorization)
  const isKnown = given !== undefined && isOperator(given.name) && passwords?.matches(given.name, given.password)
  return { name: isKnown ? given.name : 'local', address: request.ip }
}
