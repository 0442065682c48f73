import { parseArgs } from 'node:util'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { pino } from 'pino'
import { loadConfig } from './config.ts'
import { startController } from './main.ts'

/**
 * `node dist/process.js --config file.json`: one JSON line on standard output when ready, logs on standard error.
 * Exit codes: 0 ended by a signal, 1 failed, 2 wrong configuration.
 */
async function run(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: 'string' } } })
  const log = pino({ name: 'controller' }, pino.destination(2))
  const config = loadConfig({
    ...(values.config === undefined ? {} : { file: values.config }),
    environment: process.env,
  })
  const { url, mqttPort, close } = await startController(config, log)
  process.stdout.write(`${JSON.stringify({ ready: true, url, mqttPort })}\n`)
  const stop = (): void => {
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.fatal({ reason: describeError(error) }, 'cannot close')
        process.exit(1)
      },
    )
  }
  process.once('SIGTERM', stop)
  process.once('SIGINT', stop)
}

run().catch((error: unknown) => {
  process.stderr.write(`${describeError(error)}\n`)
  const isUsage = error instanceof ConfigError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS')
  process.exit(isUsage ? 2 : 1)
})
