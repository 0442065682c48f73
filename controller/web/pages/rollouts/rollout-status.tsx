import type { Health } from '../../../overview/judge-health.ts'
import type { MemberState, RolloutState, WaveView } from '../../contracts/rollouts.ts'
import { Status } from '../../parts/status.tsx'

const OF_ROLLOUT: Readonly<Record<RolloutState, Health>> = {
  planned: 'resting',
  running: 'starting',
  paused: 'resting',
  stopped: 'lost',
  done: 'ok',
  'rolling-back': 'attention',
  'rolled-back': 'attention',
}
const OF_WAVE: Readonly<Record<WaveView['state'], Health>> = {
  waiting: 'resting',
  running: 'starting',
  soaking: 'starting',
  passed: 'ok',
  failed: 'lost',
}
export const OF_MEMBER: Readonly<Record<MemberState, Health>> = {
  waiting: 'resting',
  held: 'attention',
  ordered: 'starting',
  updating: 'starting',
  succeeded: 'ok',
  failed: 'lost',
  withdrawn: 'resting',
  returning: 'attention',
  returned: 'attention',
}

export const RolloutStatus = ({ state }: { state: RolloutState }) => <Status kind={OF_ROLLOUT[state]} text={state} />
export const WaveStatus = ({ state }: { state: WaveView['state'] }) => <Status kind={OF_WAVE[state]} text={state} />
export const MemberStatus = ({ state }: { state: MemberState }) => <Status kind={OF_MEMBER[state]} text={state} />
