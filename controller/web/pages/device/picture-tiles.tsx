import type { SlotBirth, SlotView } from '../../contracts/device.ts'
import { Panel } from '../../parts/panel.tsx'
import { linkTo } from '../../state/router.ts'
import { SlotPicture } from './slot-picture.tsx'

/** What all slots of a device see, side by side. */
export function PictureTiles(props: { device: string; slots: readonly SlotView[]; births: readonly SlotBirth[] }) {
  const { device, slots, births } = props
  return (
    <div class="tiles">
      {slots.map((each) => (
        <Panel
          key={each.slot}
          title={each.slot}
          aside={
            <a class="small" href={linkTo(['device', device], { slot: each.slot })}>
              Show {each.slot} alone
            </a>
          }
        >
          <SlotPicture device={device} slot={each} birth={births.find(({ slot }) => slot === each.slot)} />
        </Panel>
      ))}
    </div>
  )
}
