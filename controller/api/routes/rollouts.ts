import type { FastifyInstance } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import { z } from 'zod'
import type { Passwords } from '../../broker/passwords.ts'
import { type Families, versionOf } from '../../families.ts'
import type { Fleet } from '../../ingest/fleet.ts'
import { actionsOf } from '../../rollout/decide-rollout.ts'
import { MEMBER_STATES, type Member, type Rollout, slotKey } from '../../rollout/rollout.ts'
import type { Members, Rollouts } from '../../rollout/rollouts.ts'
import { actorOf } from '../actor.ts'
import { findById } from '../find-by-id.ts'
import {
  type RolloutMember,
  type RolloutSummary,
  type RolloutView,
  rolloutActionSchema,
  rolloutCreateSchema,
  rolloutListSchema,
  rolloutMembersQuerySchema,
  rolloutMembersSchema,
  rolloutPreviewSchema,
  rolloutViewSchema,
} from '../rollout-schemas.ts'
import { errorSchema } from '../schemas.ts'

export interface RolloutRouteOptions {
  readonly rollouts: Rollouts
  readonly families: Families
  readonly fleet: Fleet
  readonly passwords: Passwords | undefined
}

const iso = (ms: number): string => new Date(ms).toISOString()

function countStates(members: Iterable<Member>): RolloutSummary['counts'] {
  const counts = Object.fromEntries(['total', ...MEMBER_STATES].map((state) => [state, 0])) as RolloutSummary['counts']
  for (const { state } of members) {
    counts.total++
    counts[state]++
  }
  return counts
}

function summarise(rollout: Rollout, members: Members, families: Families): RolloutSummary {
  const { id, spec, state, wave, reason } = rollout
  const version = families.version(spec.manifestDigest)?.manifest.version
  return {
    id,
    family: spec.family,
    ...(version === undefined ? {} : { version }),
    manifestDigest: spec.manifestDigest,
    selector: spec.selector,
    state,
    wave: wave + 1,
    waves: rollout.waves.length,
    reason,
    createdAt: iso(rollout.createdMs),
    createdBy: rollout.createdBy,
    changedAt: iso(rollout.changedMs),
    counts: countStates(members.values()),
  }
}

function viewRollout(rollout: Rollout, members: Members, families: Families): RolloutView {
  const { spec } = rollout
  return {
    ...summarise(rollout, members, families),
    spec,
    waveList: rollout.waves.map(({ state, startedMs, soakFromMs, judgedMs, comparisons }, i) => ({
      wave: i + 1,
      endPct: spec.wavesPct[i]!,
      state,
      ...(startedMs === undefined ? {} : { startedAt: iso(startedMs) }),
      ...(soakFromMs === undefined ? {} : { soakEndsAt: iso(soakFromMs + spec.soakS * 1000) }),
      ...(judgedMs === undefined ? {} : { judgedAt: iso(judgedMs) }),
      counts: countStates([...members.values()].filter((member) => member.wave === i)),
      comparisons,
    })),
    actions: actionsOf(rollout),
  }
}

function viewMember(member: Member, fleet: Fleet): RolloutMember {
  const { device, slot, wave, state, reason, fromDigest, orderedMs, endedMs, update } = member
  const record = fleet.get(device)
  const nowDigest = record && versionOf(record, slot)
  return {
    device,
    slot,
    wave: wave + 1,
    state,
    ...(record?.birth === undefined ? {} : { site: record.birth.site, deviceClass: record.birth.deviceClass }),
    ...(reason === undefined ? {} : { reason }),
    ...(fromDigest === undefined ? {} : { fromDigest }),
    ...(nowDigest === undefined ? {} : { nowDigest }),
    ...(orderedMs === undefined ? {} : { orderedAt: iso(orderedMs) }),
    ...(endedMs === undefined ? {} : { endedAt: iso(endedMs) }),
    ...(update === undefined ? {} : { update }),
  }
}

const ACTIONS = ['pause', 'resume', 'stop', 'roll-back'] as const

export function addRolloutRoutes(instance: FastifyInstance, options: RolloutRouteOptions): void {
  const { rollouts, families, fleet } = options
  const api = instance.withTypeProvider<ZodTypeProvider>()
  const errors = { 400: errorSchema, 404: errorSchema, 409: errorSchema, 503: errorSchema }
  const params = z.object({ id: z.string().max(100) })
  const find = (id: string): Rollout => findById('rollout', id, rollouts)
  const view = (rollout: Rollout): RolloutView => viewRollout(rollout, rollouts.members(rollout.id), families)

  /** Latest first. */
  api.get('/rollouts', { schema: { response: { 200: rolloutListSchema } } }, () => ({
    rollouts: rollouts
      .list()
      .map((rollout) => summarise(rollout, rollouts.members(rollout.id), families))
      .reverse(),
  }))

  api.post(
    '/rollouts',
    { schema: { body: rolloutCreateSchema, response: { 201: rolloutViewSchema, ...errors } } },
    async (request, reply) => {
      const { start, ...spec } = request.body
      const rollout = rollouts.create(spec, { isStarted: start, by: actorOf(request, options.passwords) })
      return reply.code(201).send(view(rollout))
    },
  )

  api.post(
    '/rollouts/preview',
    { schema: { body: rolloutCreateSchema, response: { 200: rolloutPreviewSchema, ...errors } } },
    (request) => {
      const { start: _, ...spec } = request.body
      const { waves, alreadyThere, conflicts } = rollouts.preview(spec)
      return {
        total: waves.reduce((sum, members) => sum + members.length, 0),
        waves: waves.map((members, i) => ({
          wave: i + 1,
          endPct: spec.wavesPct[i]!,
          members: members.map(({ candidate, held }) => ({
            device: candidate.device,
            slot: candidate.slot,
            site: candidate.site,
            deviceClass: candidate.deviceClass,
            isConnected: candidate.isConnected,
            ...(candidate.version === undefined ? {} : { nowDigest: candidate.version }),
            ...(held === undefined ? {} : { held }),
          })),
        })),
        alreadyThere,
        conflicts: [...conflicts],
      }
    },
  )

  api.get('/rollouts/:id', { schema: { params, response: { 200: rolloutViewSchema, ...errors } } }, (request) =>
    view(find(request.params.id)),
  )

  api.get(
    '/rollouts/:id/members',
    { schema: { params, querystring: rolloutMembersQuerySchema, response: { 200: rolloutMembersSchema, ...errors } } },
    (request) => {
      const { id } = find(request.params.id)
      const { state, wave, after, limit } = request.query
      const found = [...rollouts.members(id).values()]
        .filter(
          (member) => (state === undefined || member.state === state) && (wave ?? member.wave + 1) === member.wave + 1,
        )
        .map((member) => [slotKey(member), member] as const)
        .filter(([key]) => after === undefined || key > after)
        .sort(([a], [b]) => (a < b ? -1 : 1))
      const page = found.slice(0, limit)
      return {
        members: page.map(([, member]) => viewMember(member, fleet)),
        ...(found.length > limit ? { next: page.at(-1)![0] } : {}),
      }
    },
  )

  for (const action of ACTIONS)
    api.post(
      `/rollouts/:id/${action}`,
      { schema: { params, body: rolloutActionSchema.nullish(), response: { 200: rolloutViewSchema, ...errors } } },
      (request) => {
        find(request.params.id)
        const by = actorOf(request, options.passwords)
        return view(rollouts.act(request.params.id, action, { by, reason: request.body?.reason }))
      },
    )
}
