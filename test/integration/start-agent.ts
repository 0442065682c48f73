import { type AgentConfig, loadConfig } from '@espalier/agent/config'
import { runAgent } from '@espalier/agent/main'
import type { AgentSurroundings } from '@espalier/agent/surroundings'
import { pino } from 'pino'

export interface StartedAgent {
  readonly config: AgentConfig
  /** Ends with what the agent ended with. */
  stop(): Promise<void>
}

/**
 * An agent in this process, which tries no backend but WebAssembly unless its settings say so.
 *
 * @param settings As in a file of settings.
 */
export function startAgent(settings: object, surroundings: Partial<AgentSurroundings> = {}): StartedAgent {
  const config = loadConfig({ file: { name: 'test', settings: { backends: ['wasm'], ...settings } } })
  const stopping = new AbortController()
  const ended = runAgent(config, stopping.signal, pino({ level: 'silent' }), { random: () => 0.05, ...surroundings })
  return {
    config,
    async stop() {
      stopping.abort()
      await ended
    },
  }
}
