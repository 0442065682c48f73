import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Configuration, configurationId } from '@espalier/shared/configuration'
import { Histogram } from '@espalier/shared/histogram'
import { type DeviceId, deviceIdSchema, type SlotId, siteIdSchema, slotIdSchema } from '@espalier/shared/ids'
import { type Manifest, parseManifest } from '@espalier/shared/manifest/manifest'
import type { Birth, Telemetry } from '@espalier/shared/messages/device'
import type { Envelope } from '@espalier/shared/messages/envelope'
import { onTestFinished } from 'vitest'

export const DEVICE: DeviceId = deviceIdSchema.parse('cam-1')
export const SLOT: SlotId = slotIdSchema.parse('cam0')

/** Removed when the test ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-controller-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

const digest = 'a'.repeat(64)
const blob = { sha256: digest, bytes: 1 }
const graph = { ...blob, input: 'x', output: 'y', weights: {}, macsPerPixel: 9000 }

/** A family with cards and no graphs: enough to plan with. */
export const manifest: Manifest = parseManifest(
  JSON.stringify({
    format: 'espalier-family/1',
    family: 'toy',
    version: '1.0.0',
    task: 'image-codec',
    licence: 'Apache-2.0',
    description: 'cards only',
    tensors: {},
    variants: [
      {
        id: 'full',
        encoder: graph,
        card: [
          { alpha255: 0, bitsPerPixel: 1.2, psnrDb: 35 },
          { alpha255: 128, bitsPerPixel: 0.8, psnrDb: 33 },
          { alpha255: 255, bitsPerPixel: 0.4, psnrDb: 30 },
        ],
      },
    ],
    decoders: { full: graph },
    resizeCard: [{ scale: 0.5, psnrDb: 33 }],
    adapters: [],
    entropy: blob,
    latent: { channels: 8, stride: 16 },
    golden: { picture: blob, width: 16, height: 16, cases: [] },
  }),
  'toy',
)

export function makeBirth(device: DeviceId = DEVICE, slot: Partial<Birth['slots'][number]> = {}): Birth {
  return {
    device,
    site: siteIdSchema.parse('local'),
    deviceClass: 'test',
    labels: {},
    software: 'test',
    board: { model: 'test', arch: 'x64', cores: 2, memoryBytes: 1e9 },
    energy: [],
    slots: [
      {
        slot: SLOT,
        family: 'toy',
        manifestDigest: digest as Birth['slots'][number]['manifestDigest'],
        source: { kind: 'synthetic', width: 256, height: 192, frameRate: 5 },
        backends: [{ backend: 'wasm', threads: 1 }],
        macsPerSecond: 2e10,
        weight: 1,
        ...slot,
      },
    ],
  }
}

export interface Counted {
  readonly frames: number
  readonly bits: number
  readonly joules: number
  readonly idleJoules: number
  readonly seconds: number
  readonly swaps?: number
  readonly latencyS?: number
  readonly psnrDb?: number
}

/** Telemetry of a slot that always cost the same for each frame. */
export function makeTelemetry(configuration: Configuration, counted: Counted): Telemetry {
  const latency = new Histogram()
  for (let i = 0; i < counted.frames; i++) latency.record(counted.latencyS ?? 0.05)
  return {
    energy: [
      {
        source: 'model:test',
        rail: 'all',
        scope: 'modelled',
        method: 'model',
        joules: counted.joules + 0.1 * counted.seconds,
        idleJoules: counted.idleJoules,
        uncertainty: 0.2,
        coverage: 1,
        rateHz: 1,
      },
    ],
    slots: [
      {
        slot: SLOT,
        configuration: configurationId(configuration),
        frames: counted.frames,
        dropped: 0,
        unsent: 0,
        late: 0,
        swaps: counted.swaps ?? 0,
        bits: counted.bits,
        joules: counted.joules,
        idleJoules: counted.idleJoules,
        latency: latency.counts(),
        psnrSum: counted.frames * (counted.psnrDb ?? 34),
        psnrCount: counted.frames,
      },
    ],
    self: { rssBytes: 1e7, cpuSeconds: 0, joules: 0, spoolBytes: 0, spoolDropped: 0, workerRestarts: 0 },
  }
}

export function envelope<Body>(
  body: Body,
  at: { boot?: string; seq: number; mono?: number; bd?: number },
): Envelope<Body> {
  const { boot = 'boot-1', seq, mono = seq * 1000, bd = 1 } = at
  return { v: 1, bd, boot, seq, mono, wall: 0, clk: 'none', body }
}

export const configuration: Configuration = {
  family: 'toy',
  variant: 'full',
  alpha255: 0,
  mode: 'merged',
  backend: 'wasm',
  threads: 1,
  width: 256,
  height: 192,
  frameRate: 5,
}
