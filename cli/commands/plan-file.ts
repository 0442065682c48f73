import { readFile } from 'node:fs/promises'
import { findContradiction, type Instance, instanceSchema } from '@espalier/controller/plan/instance'
import { type InstancePlan, planInstance } from '@espalier/controller/plan/plan-instance'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { z } from 'zod'

async function readInstance(path: string): Promise<Instance> {
  const refuse = (reason: string): never => {
    throw new ConfigError(`Cannot read instance "${path}": ${reason}; docs/planner.md describes the format`)
  }
  let value: unknown
  try {
    value = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    return refuse(describeError(error))
  }
  const parsed = instanceSchema.safeParse(value)
  if (!parsed.success) return refuse(z.prettifyError(parsed.error))
  const contradiction = findContradiction(parsed.data)
  return contradiction === undefined ? parsed.data : refuse(contradiction)
}

function describe({ value, bound, integerBound, gap, rows, devices, alarms }: InstancePlan): string {
  return [
    `utility ${value.toFixed(6)}, at most ${bound.toFixed(6)} (gap ${(100 * gap).toFixed(4)} %), in whole choices at most ${integerBound.toFixed(6)}`,
    ...rows.map(
      (r) =>
        `${r.key}  ${r.planned} of ${r.limit - r.reserved} ${r.unit}, one more is worth ${r.price.toPrecision(3)} utility`,
    ),
    ...alarms.map((alarm) => `ALARM  ${alarm}`),
    '',
    ...devices.map((d) =>
      `${d.id}  ${d.option}  ${d.binding.length > 0 ? `held by ${d.binding.join(', ')}` : ''}`.trimEnd(),
    ),
  ].join('\n')
}

/** Solve a fleet in a file, without a controller. @throws {ConfigError} If the file is no instance. */
export async function planFile(path: string, options: { readonly json?: true }): Promise<void> {
  const plan = planInstance(await readInstance(path))
  process.stdout.write(`${options.json ? JSON.stringify(plan, undefined, 2) : describe(plan)}\n`)
}

/** The format as JSON Schema, for other programs. */
export function printInstanceSchema(): void {
  process.stdout.write(`${JSON.stringify(z.toJSONSchema(instanceSchema, { io: 'input' }), undefined, 2)}\n`)
}
