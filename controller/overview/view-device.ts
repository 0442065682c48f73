import type { DeviceSeries, DeviceTelemetry } from '../api/routes/fleet-schemas.ts'
import type { RecentWindow } from '../ingest/recent-window.ts'
import type { Sample } from '../store/telemetry.ts'
import { measureWindow, type SlotWindow } from './measure-window.ts'

/** As shared/histogram.ts has them. */
const bucketEndS = (bucket: number): number => 2 ** (bucket / 8)

function pointOf(slot: SlotWindow): DeviceSeries['points'][number]['slots'][number] {
  const { joulesPerFrame, latencyP95Ms, psnrDb } = slot
  return {
    slot: slot.slot,
    configurationId: slot.configurationId,
    rateBps: slot.rateBps,
    framesPerSecond: slot.framesPerSecond,
    ...(joulesPerFrame === undefined ? {} : { joulesPerFrame }),
    ...(latencyP95Ms === undefined ? {} : { latencyP95Ms }),
    ...(psnrDb === undefined ? {} : { psnrDb }),
  }
}

/** What happened between each two samples of one boot that follow each other. */
export function seriesOf(samples: readonly Sample[]): DeviceSeries['points'] {
  return samples.slice(1).flatMap((late, i) => {
    const measured = measureWindow(samples[i]!, late)
    if (measured === undefined) return []
    const temperatures = Object.values(late.counters.machine?.celsius ?? {})
    return [
      {
        atMs: late.atMs,
        ...(measured.powerW === undefined ? {} : { powerW: measured.powerW }),
        ...(temperatures.length === 0 ? {} : { celsius: Math.max(...temperatures) }),
        slots: measured.slots.map(pointOf),
      },
    ]
  })
}

export function viewTelemetry(device: string, { first, last }: RecentWindow): DeviceTelemetry {
  const measured = measureWindow(first, last)
  const before = new Map(first.counters.energy.map((energy) => [`${energy.source} ${energy.rail}`, energy.joules]))
  const railsW = (seconds: number) =>
    Object.fromEntries(
      last.counters.energy.map(({ source, rail, joules }) => {
        const key = `${source} ${rail}`
        return [key, (joules - (before.get(key) ?? joules)) / seconds]
      }),
    )
  return {
    device,
    bootMs: last.monoMs,
    counters: last.counters,
    ...(measured === undefined
      ? {}
      : {
          window: {
            seconds: measured.seconds,
            ...(measured.powerW === undefined ? {} : { powerW: measured.powerW, idleW: measured.idleW! }),
            railsW: railsW(measured.seconds),
            slots: measured.slots.map((slot) => ({
              ...pointOf(slot),
              frames: slot.frames,
              dropped: slot.dropped,
              ...(slot.dynamicJoulesPerFrame === undefined
                ? {}
                : { dynamicJoulesPerFrame: slot.dynamicJoulesPerFrame }),
              ...(slot.latencyP50Ms === undefined ? {} : { latencyP50Ms: slot.latencyP50Ms }),
              ...(slot.agreementPct === undefined ? {} : { agreementPct: slot.agreementPct }),
              latency: Object.entries(slot.latency)
                .map(([bucket, count]) => ({ upToS: bucketEndS(Number(bucket)), count }))
                .sort((a, b) => a.upToS - b.upToS),
            })),
          },
        }),
  }
}
