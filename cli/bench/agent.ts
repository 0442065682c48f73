import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { TICKS_HZ } from '@espalier/agent/meter/read-machine'
import { telemetrySchema } from '@espalier/shared/messages/device'
import { parseMessage } from '@espalier/shared/messages/envelope'
import { parseUpTopic } from '@espalier/shared/messages/topics'
import { Aedes } from 'aedes'
import { agentProgram } from '../node-programs.ts'
import { measureAgentLoop } from './agent-loop.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'
import { makeTrace, measureTrace } from './energy-traces.ts'
import { seededRandom } from './seeded-random.ts'

/** The engine optimises what it has run some thousand times: a minute at 100 Hz. Before, a reading costs nearly twice as much. */
const WARM_UP_S = 60
const WATCH_S = 30
/** How often memory is looked at meanwhile; the largest counts. */
const LOOK_EVERY_S = 5
const WINDOWS = 1000

/** A sensor as a Jetson has it, in a folder of its own. */
async function writeSensor(root: string): Promise<void> {
  const chip = join(root, 'sys/class/hwmon/hwmon1')
  await mkdir(chip, { recursive: true })
  const files = { name: 'ina3221', in1_label: 'VDD_IN', in1_input: '4968', curr1_input: '952', update_interval: '7' }
  for (const [name, text] of Object.entries(files)) await writeFile(join(chip, name), `${text}\n`)
}

async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_HZ
}

async function rssMegabytes(pid: number): Promise<number> {
  const match = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, 'utf8'))
  return (Number(match![1]) * 1024) / 1e6
}

/** Watch a process: the largest memory, and the share of a core that all its threads take. */
async function watch(pid: number): Promise<{ rssMB: number; cpuShare: number }> {
  const before = await cpuSeconds(pid)
  const startMs = performance.now()
  let rssMB = 0
  for (let s = 0; s < WATCH_S; s += LOOK_EVERY_S) {
    await delay(LOOK_EVERY_S * 1000)
    rssMB = Math.max(rssMB, await rssMegabytes(pid))
  }
  return { rssMB, cpuShare: (1000 * ((await cpuSeconds(pid)) - before)) / (performance.now() - startMs) }
}

/** A broker that hears readings so far and time since boot in the newest telemetry. */
async function openBroker() {
  const broker = await Aedes.createBroker()
  const server = createServer(broker.handle)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const heard: { newest?: { readings: number; monoS: number } } = {}
  broker.on('publish', ({ topic, payload }) => {
    if (parseUpTopic(topic)?.kind !== 'telemetry') return
    const { mono, body } = parseMessage(payload as Buffer, 'telemetry', telemetrySchema)
    const sensor = body.energy.find(({ source }) => source === 'ina3221:VDD_IN')
    const monoS = mono / 1000
    if (sensor !== undefined) heard.newest = { readings: sensor.rateHz * monoS, monoS }
  })
  return {
    port: (server.address() as AddressInfo).port,
    heard,
    async close() {
      await new Promise<void>((done) => broker.close(done))
      await new Promise((done) => server.close(done))
    },
  }
}

/** What the user runs anyway: Node that does nothing, and Node that does nothing a hundred times a second. */
async function watchEmptyNode(script: string) {
  const child = spawn(process.execPath, ['--eval', script], { stdio: 'ignore' })
  try {
    await delay(WARM_UP_S * 1000)
    return await watch(child.pid!)
  } finally {
    await stop(child)
  }
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((done) => child.once('exit', done))
  child.kill('SIGTERM')
  await ended
}

/** The control process of a real agent that is connected and plays a clip at one frame a second, after it has warmed up. */
async function watchControlProcess(clip: string, familyDir: string, sampleHz: number) {
  const home = await mkdtemp(join(tmpdir(), 'espalier-bench-agent-'))
  await writeSensor(join(home, 'root'))
  const broker = await openBroker()
  const config = {
    device: 'bench',
    dataDir: join(home, 'data'),
    familyDir,
    mqttUrl: `mqtt://127.0.0.1:${broker.port}`,
    logLevel: 'silent',
    sensors: { root: join(home, 'root'), sampleHz, maxCpuShare: 0.02 },
    slots: [{ slot: 'cam0', source: { kind: 'images', path: clip, frameRate: 1 }, sink: { kind: 'discard' } }],
  }
  await writeFile(join(home, 'agent.json'), JSON.stringify(config))
  const { script, flags } = agentProgram()
  const child = spawn(process.execPath, [...flags, script, '--config', join(home, 'agent.json')], {
    stdio: 'ignore',
  })
  try {
    await delay(WARM_UP_S * 1000)
    const before = broker.heard.newest
    const watched = await watch(child.pid!)
    const after = broker.heard.newest
    const rateHz =
      before === undefined || after === undefined
        ? Number.NaN
        : (after.readings - before.readings) / (after.monoS - before.monoS)
    return { sampleHz, rateHz, ...watched }
  } finally {
    await stop(child)
    await broker.close()
    await rm(home, { recursive: true, force: true })
  }
}

/** How often the interval that the meter reports holds the true joules, and how wide it is. */
function judgeIntervals(
  kind: Parameters<typeof makeTrace>[0],
  { windowS, sampleHz }: { windowS: number; sampleHz: number },
) {
  const random = seededRandom(5)
  let [covered, width] = [0, 0]
  for (let i = 0; i < WINDOWS; i++) {
    const { window, truthJ } = measureTrace(makeTrace(kind, random), { windowS, sampleHz, random })
    if (truthJ >= window.interval[0] && truthJ <= window.interval[1]) covered++
    width += window.samplingJ / truthJ / WINDOWS
  }
  return { kind, windowS, sampleHz, coverage: covered / WINDOWS, meanRelativeHalfWidth: width }
}

/** @param options.clip Folder of pictures. */
export async function benchAgent({ clip, familyDir }: { clip: string; familyDir: string }): Promise<Findings> {
  const intervals = (['constant', 'steps', 'ripple', 'in step'] as const).flatMap((kind) =>
    [
      { windowS: 1, sampleHz: 100 },
      { windowS: 10, sampleHz: 10 },
    ].map((sampling) => judgeIntervals(kind, sampling)),
  )
  // Two at a time: what is compared runs at the same time.
  const [slow, empty] = await Promise.all([
    watchControlProcess(clip, familyDir, 0.1),
    watchEmptyNode('setInterval(() => {}, 1000)'),
  ])
  const [fast, timer] = await Promise.all([
    watchControlProcess(clip, familyDir, 100),
    watchEmptyNode('(function wake() { setTimeout(wake, 5 + 10 * Math.random()) })()'),
  ])
  const loop = await measureAgentLoop()
  const checks: Check[] = [
    ...loop.checks,
    atLeast('readings a second, of 100 that were asked for', fast.rateHz, 90, 'Hz'),
    atMost('control process, RSS at 100 Hz', fast.rssMB, 80, 'MB'),
    atMost('control process, share of a core at 100 Hz', 100 * fast.cpuShare, 2, '%'),
    ...intervals.map(({ kind, windowS, sampleHz, coverage }) =>
      atLeast(
        `windows whose 95 % interval holds the truth, ${kind}, ${windowS} s at ${sampleHz} Hz`,
        100 * coverage,
        93,
        '%',
      ),
    ),
  ]
  const row = (name: string, { rssMB, cpuShare }: { rssMB: number; cpuShare: number }): string =>
    `| ${name} | ${rssMB.toFixed(1)} MB | ${(100 * cpuShare).toFixed(2)} % |`
  const page = [
    '## Beside an empty Node process',
    '',
    `After ${WARM_UP_S} s; the largest resident memory and the mean share of a core over ${WATCH_S} s. The clip is 512 x 288 at one frame a second.`,
    '',
    '| process | memory | share of a core |',
    '|---|---|---|',
    row('Node, nothing to do', empty),
    row('Node, an empty timer at 100 Hz, random as ours', timer),
    row(`control process, sensor read at ${slow.rateHz.toFixed(1)} Hz`, slow),
    row(`control process, sensor read at ${fast.rateHz.toFixed(0)} Hz`, fast),
    '',
  ].join('\n')
  return { checks, page, details: { control: { slow, fast }, node: { empty, timer }, intervals, loop: loop.details } }
}
