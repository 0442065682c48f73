import { atLeast, atMost, type Findings } from './checks.ts'
import { runKills } from './power-cut-kills.ts'
import { type PowerCutRun, runPowerCut, STAGES, TROUBLES, type Trouble } from './power-cut-run.ts'
import { makeSampleVersion } from './sample-versions.ts'
import { seededRandom } from './seeded-random.ts'

const RUNS = 1000
const PROGRESS_EVERY = 50
/** Of a real process. */
const KILLS = 20

/** With these the whole is fetched once at most; with the others, bytes must be fetched again or for nothing. */
const FETCHED_ONCE: ReadonlySet<Trouble> = new Set(['none', 'failing writes', 'unfit version', 'regressing version'])
/** The new version cannot or must not be kept. */
const MUST_ROLL_BACK: ReadonlySet<Trouble> = new Set([
  'wrong at the source',
  'unfit version',
  'regressing version',
  'no ranges',
])

const ratio = ({ carriedBytes, neededBytes }: PowerCutRun): number => carriedBytes / neededBytes
const sum = <T>(values: readonly T[], of: (value: T) => number): number =>
  values.reduce((total, value) => total + of(value), 0)
const worst = (runs: readonly PowerCutRun[]): number => Math.max(0, ...runs.map(ratio))
const total = (runs: readonly PowerCutRun[]): number =>
  sum(runs, (run) => run.carriedBytes) /
  Math.max(
    1,
    sum(runs, (run) => run.neededBytes),
  )

/** Whether it ended while something was fetched: what was not written or synced, about 256 KiB at most, had to come again. */
const wasFetching = ({ kills }: PowerCutRun): boolean =>
  kills.some(({ stage }) => stage === 'fetch' || stage === 'verify')

/** Whether the end is the one that is right: three kills while it is warmed or tried are told from a bad version by nobody. */
function isRight({ trouble, outcome, kills }: PowerCutRun): boolean {
  const cuts = kills.filter(({ stage }) => stage === 'warm' || stage === 'trial' || stage === 'commit').length
  return MUST_ROLL_BACK.has(trouble) ? outcome === 'rolled back' : outcome === 'new version' || cuts >= 3
}

function pageOf(runs: readonly PowerCutRun[]): string {
  const rows = TROUBLES.map((trouble) => {
    const of = runs.filter((run) => run.trouble === trouble)
    const ended = (outcome: PowerCutRun['outcome']): number => of.filter((run) => run.outcome === outcome).length
    const bytes = `${total(of).toFixed(3)} | ${worst(of).toFixed(3)}`
    return `| ${trouble} | ${of.length} | ${ended('new version')} | ${ended('rolled back')} | ${ended('other')} | ${bytes} |`
  })
  const kills = STAGES.map((stage) => {
    const of = runs.flatMap((run) => run.kills).filter((kill) => kill.stage === stage)
    const power = of.filter(({ kind }) => kind === 'power').length
    return `| ${stage} | ${of.length - power} | ${power} |`
  })
  return [
    '| trouble besides kills and cuts of the link | runs | new version | rolled back | other | bytes carried / needed, total | worst |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    '| killed in | process killed | power lost |',
    '|---|---|---|',
    ...kills,
    '',
  ].join('\n')
}

/** Devices that are ordered another version, over a link that is cut each 10 s, and lose process or power on the way. */
export async function benchPowerCut(tell: (line: string) => void): Promise<Findings> {
  const [installed, before, ordered] = await Promise.all([0, 1, 2].map(makeSampleVersion))
  const runs: PowerCutRun[] = []
  for (let seed = 1; seed <= RUNS; seed++) {
    runs.push(await runPowerCut(seed, { installed: installed!, before: before!, ordered: ordered! }))
    if (seed % PROGRESS_EVERY === 0) tell(`${seed} of ${RUNS} simulated runs`)
  }
  const real = await runKills({
    kills: KILLS,
    random: seededRandom(1),
    onKill: ({ phase, seconds }) => tell(`killed in ${phase}, frames again after ${seconds.toFixed(1)} s`),
  })
  const once = runs.filter(({ trouble }) => FETCHED_ONCE.has(trouble))
  const isSteady = (run: PowerCutRun): boolean => run.trouble !== 'failing writes' && !wasFetching(run)
  const steady = once.filter(isSteady)
  const interrupted = once.filter((run) => !isSteady(run))
  const wrong = runs.filter((run) => !isRight(run))
  return {
    checks: [
      atLeast('simulated runs', runs.length, 1000, ''),
      atMost(
        'starts without a runnable version',
        sum(runs, (run) => run.unrunnable),
        0,
        '',
      ),
      atMost(
        'corrupt blobs accepted',
        sum(runs, (run) => run.corrupt),
        0,
        '',
      ),
      atMost('runs that ended on the wrong version', wrong.length, 0, ''),
      atMost(`bytes carried / needed, all ${once.length} runs that need each byte once`, total(once), 1.05, ''),
      atMost(
        `the same, worst of the ${steady.length} that lost nothing but connections while fetching`,
        worst(steady),
        1.05,
        '',
      ),
      atLeast('a real agent process killed', real.kills.length, KILLS, 'times'),
      atMost('starts after that without frames of a known version', real.unrunnable, 0, ''),
      atMost('corrupt blobs found on its disk', real.corrupt, 0, ''),
      atLeast('its last update, undisturbed, committed', real.lastPhase === 'committed' ? 1 : 0, 1, ''),
    ],
    details: {
      real,
      needed: { bytes: runs[0]!.neededBytes, linkBytesPerSecond: 60_000, cutEveryS: 10 },
      lostConnectionsAlone: { runs: steady.length, total: total(steady), worst: worst(steady) },
      killedOrFailedWritesWhileFetching: {
        runs: interrupted.length,
        total: total(interrupted),
        worst: worst(interrupted),
      },
      starts: sum(runs, (run) => run.starts),
      kills: sum(runs, (run) => run.kills.length),
      flash: {
        writtenPerNeededByte: sum(runs, (run) => run.writtenBytes) / sum(runs, (run) => run.neededBytes),
        syncsPerRun: sum(runs, (run) => run.syncs) / runs.length,
      },
      wrong,
      runs: runs.map(({ seed, trouble, kills, outcome, starts, carriedBytes, neededBytes }) => ({
        seed,
        trouble,
        outcome,
        starts,
        kills: kills.map(({ stage, kind }) => `${stage} ${kind}`).join(', '),
        ratio: Number((carriedBytes / neededBytes).toFixed(4)),
      })),
    },
    page: pageOf(runs),
  }
}
