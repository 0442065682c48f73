import { renewalMs } from '@espalier/controller/planner/renewal'
import { deviceIdSchema } from '@espalier/shared/ids'
import { expect, test } from 'vitest'

test('a fleet that was told at once is renewed over ten seconds, each device within a third of its lease', () => {
  const perPlan = new Map<number, number>()
  for (let i = 0; i < 1000; i++) {
    const id = deviceIdSchema.parse(`cam-${String(i).padStart(5, '0')}`)
    const ms = renewalMs(id)
    expect(ms).toBe(renewalMs(id))
    expect(ms).toBeGreaterThanOrEqual(30_000)
    expect(ms).toBeLessThanOrEqual(40_000)
    const plan = Math.floor(ms / 2000)
    perPlan.set(plan, (perPlan.get(plan) ?? 0) + 1)
  }
  for (const [, count] of perPlan) expect(count).toBeLessThan(300)
})
