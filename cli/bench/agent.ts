import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { measureAgentLoop } from './agent-loop.ts'
import { atLeast, atMost, type Check, type Findings } from './checks.ts'
import { makeTrace, measureTrace } from './energy-traces.ts'
import { seededRandom } from './seeded-random.ts'

const AGENT = fileURLToPath(import.meta.resolve('@espalier/agent/process'))
const WARM_UP_S = 10
const WATCH_S = 30
const WINDOWS = 1000
/** Clock ticks a second of /proc; the same on every Linux that we run on. */
const TICKS_HZ = 100

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

/** Readings a second since it started, by its own newest telemetry: without a broker, that waits on disk. */
async function readRateHz(dataDir: string): Promise<number> {
  const spool = join(dataDir, 'spool')
  const texts = await Promise.all((await readdir(spool)).sort().map((name) => readFile(join(spool, name), 'utf8')))
  return Number([...texts.join('').matchAll(/"source":"ina3221:VDD_IN"[^}]*"rateHz":([\d.]+)/g)].at(-1)?.[1])
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = new Promise((done) => child.once('exit', done))
  child.kill('SIGTERM')
  await ended
}

/** The control process of a real agent with a clip at one frame a second, after it has warmed up. */
async function watchControlProcess(clip: string, familyDir: string, sampleHz: number) {
  const home = await mkdtemp(join(tmpdir(), 'espalier-bench-agent-'))
  await writeSensor(join(home, 'root'))
  const config = {
    device: 'bench',
    dataDir: join(home, 'data'),
    familyDir,
    mqttUrl: 'mqtt://127.0.0.1:1',
    logLevel: 'silent',
    sensors: { root: join(home, 'root'), sampleHz, maxCpuShare: 0.02 },
    slots: [{ slot: 'cam0', source: { kind: 'images', path: clip, frameRate: 1 }, sink: { kind: 'discard' } }],
  }
  await writeFile(join(home, 'agent.json'), JSON.stringify(config))
  const child = spawn(process.execPath, [AGENT, '--config', join(home, 'agent.json')], { stdio: 'ignore' })
  try {
    await delay(WARM_UP_S * 1000)
    const pid = child.pid!
    const before = await cpuSeconds(pid)
    const startMs = performance.now()
    await delay(WATCH_S * 1000)
    const seconds = (performance.now() - startMs) / 1000
    const cpuShare = ((await cpuSeconds(pid)) - before) / seconds
    const [rssMB, rateHz] = [await rssMegabytes(pid), await readRateHz(join(home, 'data'))]
    return { sampleHz, rateHz, cpuShare, rssMB }
  } finally {
    await stop(child)
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
  const slow = await watchControlProcess(clip, familyDir, 0.1)
  const fast = await watchControlProcess(clip, familyDir, 100)
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
  return { checks, details: { control: { slow, fast }, intervals, loop: loop.details } }
}
