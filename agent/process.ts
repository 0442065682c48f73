import './lean-heap.ts'
import { parseArgs } from 'node:util'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { destination, pino } from 'pino'
import { environmentName, flagName, loadConfig, readConfigFile, SETTINGS } from './config.ts'
import { runAgent } from './main.ts'

// The executable: the only file that touches arguments, signals and exit codes.

function help(): string {
  const rows = SETTINGS.map((row) => {
    const fallback = typeof row.fallback === 'function' ? '' : JSON.stringify(row.fallback)
    const names = [...('isSecret' in row && row.isSecret ? [] : [`--${flagName(row.key)}`]), environmentName(row.key)]
    return `  ${names.join(', ')}\n      ${row.sentence} (${row.unit}${fallback ? `; default ${fallback}` : ''})`
  })
  return ['espalier agent [--config file.json] [settings]', '', ...rows, ''].join('\n')
}

function readFlags(): Record<string, string | undefined> {
  const names = SETTINGS.filter((row) => row.isSecret !== true).map(({ key }) => flagName(key))
  const options = Object.fromEntries([...names, 'config'].map((name) => [name, { type: 'string' as const }]))
  try {
    return parseArgs({ options, strict: true }).values as Record<string, string | undefined>
  } catch (cause) {
    throw new ConfigError(`Cannot read arguments: ${describeError(cause)}`, { cause })
  }
}

async function main(): Promise<void> {
  if (process.argv.includes('--help')) {
    process.stdout.write(help())
    return
  }
  const flags = readFlags()
  const file = flags.config === undefined ? undefined : readConfigFile(flags.config)
  const config = loadConfig({ file, environment: process.env, flags })
  const log = pino({ level: config.logLevel, base: { device: config.device } }, destination(2))
  const stopping = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  await runAgent(config, stopping.signal, log)
}

main().then(
  () => process.exit(0),
  (error: unknown) => {
    process.stderr.write(`${describeError(error)}\n`)
    process.exit(error instanceof ConfigError ? 2 : 1)
  },
)
