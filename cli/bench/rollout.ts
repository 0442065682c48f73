import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventBus } from '@espalier/controller/events'
import { openFamilies } from '@espalier/controller/families'
import { Fleet } from '@espalier/controller/ingest/fleet'
import { rolloutSpecSchema } from '@espalier/controller/rollout/rollout'
import { createRollouts } from '@espalier/controller/rollout/rollouts'
import { openStore } from '@espalier/controller/store/open-store'
import { birthSchema, type Update } from '@espalier/shared/messages/device'
import { pino } from 'pino'
import { atMost, type Findings } from './checks.ts'

const DEVICES = 1000
/** A tick comes each second, on the thread that also plans and answers. */
const TICK_LIMIT_MS = 100
const STATES: readonly Update['state'][] = ['fetch', 'verify', 'warm', 'trial', 'committed']

/** 1,000 devices are brought to a version, over the database that the controller has; time between ticks is made up. */
export async function benchRollout(familyDir: string): Promise<Findings> {
  const folder = await mkdtemp(join(tmpdir(), 'espalier-rollout-'))
  const log = pino({ level: 'silent' })
  try {
    await cp(familyDir, join(folder, 'families/old'), { recursive: true })
    await cp(familyDir, join(folder, 'families/new'), { recursive: true })
    const manifest = JSON.parse(await readFile(join(familyDir, 'manifest.json'), 'utf8')) as { family: string }
    await writeFile(join(folder, 'families/new/manifest.json'), JSON.stringify({ ...manifest, version: '9.0.0' }))
    const families = await openFamilies(join(folder, 'families'), log)
    const [next, old] = families.list()
    const store = openStore(join(folder, 'controller.sqlite'))
    const fleet = new Fleet()
    for (let i = 0; i < DEVICES; i++) {
      const birth = birthSchema.parse({
        device: `cam-${i}`,
        site: `site-${i % 20}`,
        deviceClass: `class-${i % 4}`,
        labels: {},
        software: 'bench',
        board: { model: 'bench', arch: 'x64', cores: 1, memoryBytes: 1e9 },
        energy: [],
        slots: [
          {
            slot: 'cam0',
            family: manifest.family,
            manifestDigest: old!.manifestDigest,
            source: { kind: 'synthetic', width: 256, height: 192, frameRate: 5 },
            backends: [{ backend: 'wasm', threads: 1 }],
            macsPerSecond: 1e10,
            weight: 1,
          },
        ],
      })
      Object.assign(fleet.open(birth.device), { birth, state: 'ready' })
    }
    let nowMs = 0
    const clock = { monotonicMs: () => nowMs, wallMs: () => Date.UTC(2026, 0, 1) + nowMs }
    const options = { store, fleet, families, events: new EventBus(), clock, log, onOrders: () => undefined }
    const rollouts = createRollouts({ ...options, intervalMs: 2 ** 30 })
    const spec = { family: manifest.family, manifestDigest: next!.manifestDigest, soakS: 10, maxUpdating: DEVICES }
    const { id } = rollouts.create(rolloutSpecSchema.parse(spec), { isStarted: true, by: { name: 'bench' } })

    const ticksMs: number[] = []
    while (rollouts.get(id)!.state === 'running' && ticksMs.length < 1000) {
      nowMs += 1000
      for (const member of rollouts.members(id).values()) {
        if (member.state !== 'ordered' && member.state !== 'updating') continue
        const device = fleet.get(member.device)!
        const before = device.reported?.slots[0]?.update
        const state = STATES[before === undefined ? 0 : STATES.indexOf(before.state) + 1]!
        const update = { state, manifestDigest: next!.manifestDigest, attempt: 1, neededBytes: 1, fetchedBytes: 1 }
        const manifestDigest = (state === 'committed' ? next! : old!).manifestDigest
        device.reported = { gen: 1, slots: [{ slot: member.slot, manifestDigest, update } as never] }
      }
      const startedMs = performance.now()
      rollouts.tick()
      ticksMs.push(performance.now() - startedMs)
    }
    const succeeded = [...rollouts.members(id).values()].filter(({ state }) => state === 'succeeded').length
    rollouts.close()
    store.close()
    const sorted = ticksMs.toSorted((a, b) => a - b)
    const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!
    return {
      checks: [
        atMost(`devices without the version, of ${DEVICES}`, DEVICES - succeeded, 0, ''),
        atMost('median tick', at(0.5), TICK_LIMIT_MS, 'ms'),
        atMost('95th percentile of ticks', at(0.95), TICK_LIMIT_MS, 'ms'),
      ],
      details: { devices: DEVICES, ticks: ticksMs.length, medianMs: at(0.5), p95Ms: at(0.95), maxMs: sorted.at(-1) },
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
