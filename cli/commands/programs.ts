import { spawn } from 'node:child_process'
import type { Command } from 'commander'
import { agentProgram, controllerProgram, type NodeProgram } from '../node-programs.ts'
import { registerAgentSensors } from './agent-sensors.ts'

/** Run one of our programs in the foreground with its own arguments; this process ends as it does. */
async function runProgram({ script, flags }: NodeProgram, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [...flags, script, ...args], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code) => resolve(code ?? 1))
  })
}

export function registerProgramCommands(program: Command): void {
  const programs = [
    ['controller', 'the fleet program: broker, planner, API and page', controllerProgram],
    ['agent', 'the device program; --help lists its settings', agentProgram],
  ] as const
  for (const [name, description, find] of programs) {
    const command = program
      .command(name)
      .description(description)
      .usage('[--config file.json] [settings]')
      .helpOption(false)
      .allowUnknownOption()
      .argument('[settings...]')
      .action((_settings, _options, each: Command) => runProgram(find(), each.args))
    if (name === 'agent') registerAgentSensors(command.helpCommand(false))
  }
}
