import { readFileSync } from 'node:fs'
import { EspalierError } from '@espalier/shared/errors'
import { Command, CommanderError } from 'commander'
import { registerAlertCommands } from './commands/alerts.ts'
import { registerAuditCommand } from './commands/audit.ts'
import { registerBenchCommand } from './commands/bench.ts'
import { registerCodecCommands } from './commands/codec.ts'
import { registerDeviceCommand } from './commands/command.ts'
import { registerDemoCommand } from './commands/demo.ts'
import { registerEvalCommand } from './commands/eval.ts'
import { registerFamilyCommands } from './commands/families.ts'
import { registerFleetCommands } from './commands/fleet.ts'
import { registerForgeCommand } from './commands/forge.ts'
import { registerProgramCommands } from './commands/programs.ts'
import { registerRolloutCommands } from './commands/rollout.ts'
import { registerSimCommand } from './commands/sim.ts'
import { registerTraceCommands } from './commands/trace.ts'
import { registerUpCommand } from './commands/up.ts'

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }

const program = new Command('espalier')
  .description('Run one neural model in many shapes across a fleet, by measured joules, milliseconds and bits.')
  .version(version)
  .showHelpAfterError()
  // `forge family` has a --version of its own.
  .enablePositionalOptions()
  .exitOverride()
for (const register of [
  registerUpCommand,
  registerDemoCommand,
  registerCodecCommands,
  registerEvalCommand,
  registerForgeCommand,
  registerFleetCommands,
  registerDeviceCommand,
  registerFamilyCommands,
  registerRolloutCommands,
  registerAlertCommands,
  registerAuditCommand,
  registerProgramCommands,
  registerSimCommand,
  registerTraceCommands,
  registerBenchCommand,
])
  register(program)

/** 0 done, 1 failed, 2 wrong use or configuration. */
function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
  if (error instanceof SyntaxError || error instanceof RangeError) return 2
  return error instanceof EspalierError && error.code === 'CONFIG' ? 2 : 1
}

// Whoever reads has enough, as `head` has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

try {
  await program.parseAsync()
} catch (error) {
  process.exitCode = exitCodeOf(error)
  // Commander has already said what is wrong; our own errors are one line, anything else is a bug and shows its stack.
  if (!(error instanceof CommanderError)) {
    const isOurs = error instanceof EspalierError || error instanceof SyntaxError || error instanceof RangeError
    process.stderr.write(`espalier: ${isOurs ? error.message : error instanceof Error ? error.stack : String(error)}\n`)
  }
}
