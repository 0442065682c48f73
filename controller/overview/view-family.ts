import type { ClassifierManifest } from '@espalier/shared/manifest/classifier-manifest'
import type { CodecManifest } from '@espalier/shared/manifest/codec-manifest'
import type { FamilyView } from '../api/routes/fleet-schemas.ts'
import type { KnownFamily } from '../families.ts'
import type { DeviceRow } from './device-row.ts'
import { groupRows } from './group-rows.ts'

type Variant = FamilyView['variants'][number]
type Tensors = Readonly<Record<string, { readonly sha256: string; readonly bytes: number }>>

/** What a variant's files weigh, and what of that a device with the first variant would still have to fetch. */
function weigh(blobs: readonly { sha256: string; bytes: number }[], base: ReadonlySet<string>) {
  const unique = [...new Map(blobs.map((blob) => [blob.sha256, blob.bytes])).entries()]
  const sum = (entries: readonly (readonly [string, number])[]) =>
    entries.reduce((total, [, bytes]) => total + bytes, 0)
  return { bytes: sum(unique), ownBytes: sum(unique.filter(([digest]) => !base.has(digest))) }
}

const blobsOfTensors = (tensors: Tensors, names: Iterable<string>) =>
  [...names].flatMap((name) => (tensors[name] === undefined ? [] : [tensors[name]]))

function codecVariants({ variants, tensors }: CodecManifest): Variant[] {
  const blobsOf = ({ encoder }: CodecManifest['variants'][number]) => [
    encoder,
    ...blobsOfTensors(tensors, Object.values(encoder.weights)),
  ]
  const base = new Set(blobsOf(variants[0]!).map(({ sha256 }) => sha256))
  return variants.map((variant, i) => ({
    id: variant.id,
    macs: variant.encoder.macsPerPixel,
    ...weigh(blobsOf(variant), i === 0 ? new Set() : base),
    card: variant.card,
    lineage: [],
    measured: [...(variant.measured ?? [])],
  }))
}

function classifierVariants({ variants, tensors }: ClassifierManifest): Variant[] {
  const blobsOf = (variant: ClassifierManifest['variants'][number]) => [
    variant.graph,
    ...blobsOfTensors(tensors, variant.tensors),
  ]
  const base = new Set(blobsOf(variants[0]!).map(({ sha256 }) => sha256))
  return variants.map((variant, i) => ({
    id: variant.id,
    macs: variant.graph.macs,
    ...weigh(blobsOf(variant), i === 0 ? new Set() : base),
    ...(variant.judged?.accuracyPct === undefined ? {} : { accuracyPct: variant.judged.accuracyPct }),
    ...(variant.judged === undefined ? {} : { agreementPct: variant.judged.agreementPct }),
    lineage: variant.lineage.map(({ pass, parameters }) => ({ pass, parameters })),
    measured: [...(variant.measured ?? [])],
  }))
}

function adaptersOf(manifest: CodecManifest): FamilyView['adapters'] {
  return manifest.adapters.map(({ id, updates }) => {
    const names = Object.values(updates).flatMap((update) =>
      update.kind === 'lowRank' ? [update.down, update.up] : [update.delta],
    )
    return {
      id,
      tensors: Object.keys(updates).length,
      bytes: weigh(blobsOfTensors(manifest.tensors, names), new Set()).bytes,
    }
  })
}

function runsOf(family: string, rows: readonly DeviceRow[]): FamilyView['runs'] {
  const running = rows.filter((row) => row.family === family && row.variant !== undefined)
  const keyOf = ({ variant, deviceClass }: DeviceRow) => `${variant}\n${deviceClass ?? 'unknown'}`
  return groupRows(running, keyOf).map((group) => {
    const [variant, deviceClass] = group.key.split('\n') as [string, string]
    const times = running
      .flatMap((row) => (keyOf(row) === group.key ? (row.latencyP95Ms ?? []) : []))
      .sort((a, b) => a - b)
    const median = times[times.length >> 1]
    return { ...group, variant, deviceClass, ...(median === undefined ? {} : { latencyP95Ms: median }) }
  })
}

export function viewFamily({ manifest, manifestDigest }: KnownFamily, rows: readonly DeviceRow[]): FamilyView {
  const { family, version, task, licence, description } = manifest
  return {
    family,
    version,
    task,
    licence,
    description,
    manifestDigest,
    adapters: manifest.task === 'image-codec' ? adaptersOf(manifest) : [],
    variants: manifest.task === 'image-codec' ? codecVariants(manifest) : classifierVariants(manifest),
    runs: runsOf(family, rows),
  }
}
