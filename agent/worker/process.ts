import { openFamilyCodec } from '@espalier/shared/codec/open-codec'
import { describeError, InvariantError } from '@espalier/shared/errors'
import type { WorkerCpu, WorkerReply, WorkerRequest } from './messages.ts'
import { Pipeline } from './pipeline.ts'

// The executable of a slot's worker, forked by the supervisor. It holds nothing that must survive it.

let pipeline: Pipeline | undefined
let slotUs = 0

function usedUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

const cpu = (): WorkerCpu => ({ slotUs, agentUs: usedUs() - slotUs })

function reply(message: WorkerReply): void {
  process.send?.(message)
}

async function encode(request: Extract<WorkerRequest, { kind: 'encode' }>): Promise<void> {
  if (pipeline === undefined) throw new InvariantError(`Cannot encode frame ${request.id}: the worker was not started`)
  const before = usedUs()
  const encoded = await pipeline.encode(request.picture, request.configuration, request.keyFrame).finally(() => {
    slotUs += usedUs() - before
  })
  reply({ kind: 'encoded', id: request.id, cpu: cpu(), ...encoded })
  if (!request.measureQuality) return
  // The stream is on its way before this begins: a frame never waits for its own quality sample.
  const psnrDb = await pipeline.measureQuality(encoded.stream, request.picture).catch(() => undefined)
  reply({ kind: 'quality', id: request.id, psnrDb, cpu: cpu() })
}

async function handle(request: WorkerRequest): Promise<void> {
  switch (request.kind) {
    case 'start': {
      pipeline = new Pipeline(await openFamilyCodec(request.familyDir, { threads: request.threads }))
      await pipeline.warmUp()
      const macsPerSecond = request.macsPerSecond ?? (await pipeline.benchmark(request.threads))
      reply({ kind: 'ready', macsPerSecond, cpu: cpu() })
      return
    }
    case 'encode':
      await encode(request).catch((error: unknown) =>
        reply({ kind: 'failed', id: request.id, reason: describeError(error), cpu: cpu() }),
      )
  }
}

// One after the other: a codec's calls must not overlap.
let last: Promise<void> = Promise.resolve()
process.on('message', (request: WorkerRequest) => {
  last = last.then(() => handle(request))
  last.catch((error: unknown) => {
    console.error(describeError(error))
    process.exit(1)
  })
})
// The control process is gone, perhaps killed: nobody wants the frames any more.
process.on('disconnect', () => process.exit(0))
// Ctrl-C reaches the whole process group; the control process decides when a worker ends.
process.on('SIGINT', () => undefined)
