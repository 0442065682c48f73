import { openClassifier } from '@espalier/shared/classifier/open-classifier'
import { openCodec } from '@espalier/shared/codec/open-codec'
import type { Picture } from '@espalier/shared/codec/picture-codec'
import { ConfigError, describeError } from '@espalier/shared/errors'
import { inputSize } from '@espalier/shared/manifest/classifier-manifest'
import { type ClassifierFamily, type CodecFamily, type Family, openFamily } from '@espalier/shared/manifest/open-family'
import sharp from 'sharp'
import type { PointTimes, ProfileOrder, ProfilePoint, ProfileReply } from './profile-messages.ts'

// The executable that times one variant on one backend, forked by profile.ts for each visit: it holds nothing else.

interface Opened {
  run(point: ProfilePoint): Promise<unknown>
  close(): Promise<void>
}

/** Any picture costs a network the same; an entropy coder works on what is in it, so it is the family's own. */
async function pictureOf(family: CodecFamily, { width, height }: ProfilePoint): Promise<Picture> {
  const { golden } = family.manifest
  const raw = { width: golden.width, height: golden.height, channels: 3 as const }
  const data = await sharp(await family.readBlob(golden.picture), { raw })
    .resize(width, height, { fit: 'fill' })
    .raw()
    .toBuffer()
  return { width, height, rgb: new Uint8Array(data) }
}

async function openOfCodec(family: CodecFamily, { subject }: ProfileOrder): Promise<Opened> {
  const codec = await openCodec(family, subject)
  const pictures = new Map<string, Picture>()
  return {
    async run(point) {
      const key = `${point.width}x${point.height}`
      const picture = pictures.get(key) ?? (await pictureOf(family, point))
      pictures.set(key, picture)
      await codec.encode(picture, { variant: subject.variant, alpha255: point.alpha255 })
    },
    close: () => codec.close(),
  }
}

async function openOfClassifier(family: ClassifierFamily, { subject }: ProfileOrder): Promise<Opened> {
  const classifier = await openClassifier(family, subject)
  const { width, height } = inputSize(family.manifest.input)
  const rgb = new Uint8Array(width * height * 3).map((_, i) => (i * 31) & 0xff)
  return { run: () => classifier.run({ width, height, rgb }), close: () => classifier.close() }
}

const isCodec = (family: Family): family is CodecFamily => family.manifest.task === 'image-codec'
const isClassifier = (family: Family): family is ClassifierFamily => family.manifest.task === 'classification'

async function open(family: Family, order: ProfileOrder): Promise<Opened> {
  if (isCodec(family)) return openOfCodec(family, order)
  if (isClassifier(family)) return openOfClassifier(family, order)
  throw new ConfigError(`Cannot profile "${order.familyDir}": found an unknown task`)
}

async function timePoint(opened: Opened, point: ProfilePoint, { warmUpMs, runs }: ProfileOrder): Promise<PointTimes> {
  const warmed = performance.now() + warmUpMs
  do await opened.run(point)
  while (performance.now() < warmed)
  const cpu = process.cpuUsage()
  const latencyMs: number[] = []
  for (let i = 0; i < runs; i++) {
    const started = performance.now()
    await opened.run(point)
    latencyMs.push(performance.now() - started)
  }
  const { user, system } = process.cpuUsage(cpu)
  return { point, latencyMs, cpuSeconds: (user + system) / 1e6 }
}

async function carryOut(order: ProfileOrder): Promise<ProfileReply> {
  try {
    const opened = await open(await openFamily(order.familyDir), order)
    const times: PointTimes[] = []
    for (const point of order.points) times.push(await timePoint(opened, point, order))
    const rssBytes = process.memoryUsage.rss()
    await opened.close()
    const { user, system } = process.cpuUsage()
    return { kind: 'done', times, rssBytes, cpuSeconds: (user + system) / 1e6 }
  } catch (error) {
    return { kind: 'failed', reason: describeError(error), isAbsent: error instanceof ConfigError }
  }
}

process.once('message', (order: ProfileOrder) => {
  carryOut(order).then(
    (reply) => process.send?.(reply, () => process.exit(0)),
    () => process.exit(1),
  )
})
process.on('disconnect', () => process.exit(0))
