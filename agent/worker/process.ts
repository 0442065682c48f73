import { describeError, InvariantError } from '@espalier/shared/errors'
import { decodePicture } from './decode-picture.ts'
import type { WorkerReply, WorkerRequest, WorkerUsage } from './messages.ts'
import { openPipeline } from './open-pipeline.ts'
import type { Pipeline } from './pipeline.ts'

// The executable of a slot's worker, forked by the supervisor. It holds nothing that must survive it.

let pipeline: Pipeline | undefined
let slotUs = 0

function usedUs(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

const usage = (): WorkerUsage => ({ slotUs, agentUs: usedUs() - slotUs, rssBytes: process.memoryUsage.rss() })

function reply(message: WorkerReply): void {
  process.send?.(message)
}

/** Answer a request that can fail without the worker being the worse for it. */
async function answer(id: number, work: (running: Pipeline) => Promise<void>): Promise<void> {
  const running = pipeline
  if (running === undefined) throw new InvariantError(`Cannot answer request ${id}: the worker was not started`)
  await work(running).catch((error: unknown) =>
    reply({ kind: 'failed', id, reason: describeError(error), usage: usage() }),
  )
}

async function processFrame(
  running: Pipeline,
  { id, picture: sourcePicture, configuration, keyFrame, measureQuality }: Extract<WorkerRequest, { kind: 'process' }>,
): Promise<void> {
  // A source's work is the agent's, not the slot's.
  const picture = await decodePicture(sourcePicture)
  const before = usedUs()
  const processed = await running.process(picture, configuration, { keyFrame }).finally(() => {
    slotUs += usedUs() - before
  })
  reply({ kind: 'processed', id, usage: usage(), ...processed })
  // The result is on its way before these begin: a frame never waits for its own quality sample.
  if (measureQuality) {
    const quality = await running.measureQuality(picture).catch(() => undefined)
    reply({ kind: 'quality', id, quality, usage: usage() })
  }
  await running.settle()
}

async function handle(request: WorkerRequest): Promise<void> {
  switch (request.kind) {
    case 'start': {
      pipeline = await openPipeline(request.familyDir, request)
      await pipeline.warmUp()
      const speed = request.speed ?? (await pipeline.benchmark())
      pipeline.heed(speed)
      reply({ kind: 'ready', speed, usage: usage() })
      return
    }
    case 'prepare':
      return answer(request.id, async (running) => {
        await running.prepare(request.variants)
        reply({ kind: 'prepared', id: request.id, usage: usage() })
      })
    case 'process':
      return answer(request.id, (running) => processFrame(running, request))
  }
}

// One after the other: a pipeline's calls must not overlap.
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
