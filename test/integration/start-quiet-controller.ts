import { loadConfig, type RawSettings } from '@espalier/controller/config'
import { type RunningController, startController } from '@espalier/controller/main'
import { pino } from 'pino'

/** A controller in this process, on ports that are free, which plans five times a second and logs nothing. */
export function startQuietController(settings: RawSettings): Promise<RunningController> {
  const flags = { port: 0, mqttPort: 0, planIntervalMs: 200, ...settings }
  return startController(loadConfig({ flags }), pino({ level: 'silent' }))
}
