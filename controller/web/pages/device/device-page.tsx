import { useEffect } from 'preact/hooks'
import type { DeviceSeries, DeviceTelemetry } from '../../../api/routes/fleet-schemas.ts'
import type { DeviceDetail, DeviceEvents, Why } from '../../contracts/device.ts'
import { Ago } from '../../parts/ago.tsx'
import { Note } from '../../parts/note.tsx'
import { Panel } from '../../parts/panel.tsx'
import { Segmented } from '../../parts/segmented.tsx'
import { Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'
import { listen, watch } from '../../state/live.ts'
import { route, setQuery } from '../../state/router.ts'
import { useApi } from '../../state/use-api.ts'
import { CommandBar } from './command-bar.tsx'
import { DecisionsPanel } from './decisions-panel.tsx'
import { DeviceCharts } from './device-charts.tsx'
import { EnergyPanel } from './energy-panel.tsx'
import { EventsPanel } from './events-panel.tsx'
import { LatencyPanel } from './latency-panel.tsx'
import { LedgersPanel } from './ledgers-panel.tsx'
import { LinkPanel } from './link-panel.tsx'
import { MachinePanel } from './machine-panel.tsx'
import { PictureTiles } from './picture-tiles.tsx'
import { SlotFigures } from './slot-figures.tsx'
import { SlotPicture } from './slot-picture.tsx'
import { SlotWhy } from './slot-why.tsx'
import { UpdatePanel } from './update-panel.tsx'

const KIND_OF_STATE = {
  init: 'starting',
  ready: 'ok',
  trial: 'starting',
  degraded: 'attention',
  sleeping: 'resting',
  offline: 'lost',
  lost: 'lost',
} as const

/** Among slots, which cannot have capitals in their names. */
const PICTURES = 'ALL'

function Head({ detail }: { detail: DeviceDetail }) {
  const { birth } = detail
  return (
    <div class="page-head">
      <h1>{detail.id}</h1>
      <Status kind={KIND_OF_STATE[detail.state]} text={detail.state} title={detail.reason} />
      {detail.reason === undefined ? null : <span>{detail.reason}</span>}
      <span class="muted">
        site {detail.site ?? 'unknown'}, {detail.deviceClass ?? 'class unknown'}
        {birth === undefined
          ? ''
          : `, ${birth.board.model}, ${birth.board.cores} cores, ${format.bytes(birth.board.memoryBytes)}, software ${birth.software}`}
        , heard <Ago atMs={Date.parse(detail.lastSeen)} />
      </span>
    </div>
  )
}

/** One device: what it sees and sends, what that costs and how it is known, why it runs what it runs, and what it told. */
export function DevicePage({ id }: { id: string }) {
  const path = encodeURIComponent(id)
  const detail = useApi<DeviceDetail>(`devices/${path}`, { everyMs: 2000 })
  const telemetry = useApi<DeviceTelemetry>(`fleet/devices/${path}/telemetry`, { everyMs: 2000 })
  const series = useApi<DeviceSeries>(`fleet/devices/${path}/series?seconds=3600&points=240`, { everyMs: 5000 })
  const why = useApi<Why>(`devices/${path}/why`, { everyMs: 5000 })
  const events = useApi<DeviceEvents>(`devices/${path}/events`, { everyMs: 30_000 })

  useEffect(() => watch([id]), [id])
  useEffect(
    () =>
      listen('device', ({ device, what }) => {
        if (device !== id) return
        if (what === 'event') events.reload()
        else detail.reload()
      }),
    [id, events.reload, detail.reload],
  )

  if (detail.data === undefined)
    return (
      <>
        <h1>{id}</h1>
        {detail.failure === undefined ? (
          <p class="muted">Loading the device</p>
        ) : (
          <Note kind="lost">{detail.failure.message}</Note>
        )}
      </>
    )
  const { data } = detail
  const isTiled = route.value.query.view === 'pictures' && data.slots.length > 1
  const slot = data.slots.find((each) => each.slot === route.value.query.slot) ?? data.slots[0]
  const birth = data.birth?.slots.find((each) => each.slot === slot?.slot)
  const reported = data.reported?.slots.find((each) => each.slot === slot?.slot)
  const desired = data.desiredState?.slots.find((each) => each.slot === slot?.slot)
  const window = telemetry.data?.window?.slots.find((each) => each.slot === slot?.slot)
  const decision = why.data?.now.find((each) => each.slot === slot?.slot)?.why
  const energySource = data.joulesPerFrame?.source
  return (
    <>
      <Head detail={data} />
      {detail.failure === undefined ? null : (
        <Note kind="lost">{detail.failure.message} What is shown is as it was last heard.</Note>
      )}
      {slot === undefined ? (
        <Note>This device has told of no slot yet.</Note>
      ) : (
        <>
          <div class="row">
            {data.slots.length < 2 ? null : (
              <Segmented
                label="Slot"
                value={isTiled ? PICTURES : slot.slot}
                choices={[
                  ...data.slots.map((each) => ({ value: each.slot as string, text: each.slot as string })),
                  { value: PICTURES, text: 'All pictures' },
                ]}
                onChange={(next) =>
                  setQuery(next === PICTURES ? { view: 'pictures' } : { slot: next, view: undefined })
                }
              />
            )}
            {isTiled ? null : <CommandBar device={id} slot={slot.slot} isPaused={reported?.isPaused === true} />}
          </div>
          {isTiled ? (
            <PictureTiles device={id} slots={data.slots} births={data.birth?.slots ?? []} />
          ) : (
            <>
              <div class="columns wide-first stretch">
                <Panel title={`${slot.slot}, as decoded here`}>
                  <SlotPicture device={id} slot={slot} birth={birth} />
                </Panel>
                <div class="stack">
                  <SlotFigures
                    slot={slot}
                    birth={birth}
                    reported={reported}
                    window={window}
                    telemetry={telemetry.data}
                  />
                  <SlotWhy
                    why={decision}
                    desired={desired}
                    reported={reported}
                    gen={data.desiredState?.gen}
                    answered={data.reported?.gen}
                  />
                </div>
              </div>
              <DeviceCharts series={series.data} slot={slot.slot} leaseBps={slot.leaseBps} />
              <div class="columns">
                <LatencyPanel
                  window={window}
                  seconds={telemetry.data?.window?.seconds ?? 0}
                  frameRate={slot.configuration?.frameRate}
                />
                <UpdatePanel update={reported?.update} runs={reported?.manifestDigest ?? birth?.manifestDigest} />
              </div>
              <DecisionsPanel history={why.data?.history ?? []} slot={slot.slot} />
            </>
          )}
        </>
      )}
      <EnergyPanel telemetry={telemetry.data} birth={data.birth} primary={energySource} />
      <div class="columns">
        <div class="stack">
          <MachinePanel telemetry={telemetry.data} />
          <LinkPanel detail={data} telemetry={telemetry.data} />
        </div>
        <LedgersPanel telemetry={telemetry.data} />
      </div>
      <EventsPanel events={events.data} failure={events.failure} />
    </>
  )
}
