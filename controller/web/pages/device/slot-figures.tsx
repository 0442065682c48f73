import type { DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import type { SlotBirth, SlotReported, SlotView } from '../../contracts/device.ts'
import { Figure } from '../../parts/figure.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'

const KIND_OF_PHASE = {
  starting: 'starting',
  applied: 'ok',
  braked: 'attention',
  refused: 'lost',
  failed: 'lost',
} as const

export function SlotFigures(props: {
  slot: SlotView
  birth: SlotBirth | undefined
  reported: SlotReported | undefined
  window: NonNullable<DeviceTelemetry['window']>['slots'][number] | undefined
  telemetry: DeviceTelemetry | undefined
}) {
  const { slot, birth, reported, window } = props
  const { joulesPerFrame: joules, latencyMs, configuration } = slot
  const frameMs = configuration === undefined ? undefined : 1000 / configuration.frameRate
  const phase = reported?.phase
  return (
    <Panel
      title="Now"
      aside={
        <>
          {reported?.isPaused ? <Status kind="resting" text="paused" /> : null}
          {phase === undefined ? null : <Status kind={KIND_OF_PHASE[phase]} text={phase} title={reported?.reason} />}
        </>
      }
    >
      <p class="mono configuration">{slot.configurationId ?? 'not running'}</p>
      {reported?.reason === undefined ? null : <p class="small">{reported.reason}</p>}
      <dl class="figures">
        <Figure
          name="Rate"
          value={format.rate(slot.bitsPerSecond)}
          detail={slot.leaseBps === undefined ? 'no lease' : `lease ${format.rate(slot.leaseBps)}`}
        />
        <Figure
          name="Energy a frame"
          value={format.energy(joules?.value)}
          detail={
            joules === undefined
              ? 'not measured'
              : `${format.energy(joules.interval[0])} to ${format.energy(joules.interval[1])} (95 %); ${joules.source}, ${joules.scope}; above idle ${format.energy(joules.dynamic)}`
          }
        />
        <Figure
          name="Latency p95"
          value={format.milliseconds(latencyMs?.p95)}
          detail={
            latencyMs === undefined
              ? 'no frames'
              : `p50 ${format.milliseconds(latencyMs.p50)}, p99 ${format.milliseconds(latencyMs.p99)}; deadline ${format.milliseconds(frameMs)}`
          }
        />
        {slot.agreementPct === undefined ? (
          <Figure
            name="Quality"
            value={format.decibels(slot.psnrDb)}
            detail={
              birth?.minPsnrDb === undefined ? 'PSNR, no floor' : `PSNR, floor ${format.decibels(birth.minPsnrDb)}`
            }
          />
        ) : (
          <Figure
            name="Agreement"
            value={`${slot.agreementPct.toFixed(0)} %`}
            detail={
              birth?.minAccuracyPct === undefined
                ? 'with the first variant'
                : `with the first variant; floor ${format.accuracy(birth.minAccuracyPct)}`
            }
          />
        )}
        <Figure
          name="Power of the slot"
          value={format.power(slot.powerW)}
          detail={`device ${format.power(props.telemetry?.window?.powerW)}, idle ${format.power(props.telemetry?.window?.idleW)}`}
        />
        <Figure
          name="Frames"
          value={format.perSecond(slot.framesPerSecond ?? window?.framesPerSecond)}
          detail={`${format.count(slot.frames)} in all; ${format.count(slot.dropped)} skipped, ${format.count(slot.late)} late, ${format.count(slot.unsent)} unsent, ${format.count(slot.swaps)} swaps`}
        />
      </dl>
    </Panel>
  )
}
