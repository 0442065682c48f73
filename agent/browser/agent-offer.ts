import { digestSchema } from '@espalier/shared/ids'
import { z } from 'zod'

/** `GET /api/v1/agent`: what a controller offers a page that would join its fleet. */
const agentOfferSchema = z.object({
  /** WebSocket of the broker; null: `/mqtt` of the controller. */
  mqttUrl: z.url({ protocol: /^wss?$/ }).nullable(),
  /** Whether devices must prove who they are. */
  isPasswordNeeded: z.boolean(),
  families: z.array(
    z.object({ family: z.string(), version: z.string(), task: z.string(), manifestDigest: digestSchema }),
  ),
})
export type AgentOffer = z.infer<typeof agentOfferSchema>

/** @throws If the controller does not answer, or with something else. */
export async function fetchOffer(): Promise<AgentOffer> {
  const response = await fetch('/api/v1/agent')
  if (!response.ok) throw new Error(`Cannot ask the controller: HTTP ${response.status}`)
  return agentOfferSchema.parse(await response.json())
}
