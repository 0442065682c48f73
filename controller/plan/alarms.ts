import { formatEmission, formatPower, formatRate } from '@espalier/shared/units'
import type { Row } from './limits.ts'
import type { Prepared } from './prepare.ts'

export interface Alarm {
  readonly kind: 'site-infeasible' | 'gateway-infeasible' | 'power-infeasible' | 'carbon-infeasible' | 'slot-forced'
  /** `site:<id>`, `gateway:<id>`, `fleet` or `device/slot`. */
  readonly subject: string
  readonly message: string
}

const formatMilliwatts = (powerMw: number): string => formatPower(powerMw / 1e3)
const formatMicrograms = (microgramsPerH: number): string => formatEmission(microgramsPerH / 1e6)

function alarmOf(key: string, { planned, margin, total, reserved }: Row): Alarm {
  const isUplink = key.includes(':')
  const [kind] = key.split(':') as ['site' | 'gateway' | 'power' | 'carbon']
  const format = isUplink ? formatRate : key === 'power' ? formatMilliwatts : formatMicrograms
  const subject = isUplink ? key : 'fleet'
  return {
    kind: `${kind}-infeasible`,
    subject,
    message: `Cannot keep the ${isUplink ? 'uplink' : key} of "${subject}": the cheapest configurations need ${format(planned)} and a margin of ${format(margin)}, expected at most ${format(total - reserved)}`,
  }
}

export function listAlarms(
  slots: readonly Prepared[],
  rows: readonly { readonly key: string; readonly row: Row; readonly isInfeasible: boolean }[],
): Alarm[] {
  const forced = slots.flatMap(({ input: { key }, forced }): Alarm[] => {
    if (forced === undefined) return []
    const message =
      forced === 'deadline'
        ? `Cannot keep the deadline and floor of "${key}": no configuration does, the fastest runs`
        : `Cannot keep the power of the device of "${key}": no configuration does, the least power runs`
    return [{ kind: 'slot-forced', subject: key, message }]
  })
  // The fleet's two limits are infeasible together: only the one that is exceeded is named.
  const isExceeded = ({ key, row, isInfeasible }: (typeof rows)[number]): boolean =>
    !row.isKept || (isInfeasible && key.includes(':'))
  return [...forced, ...rows.filter(isExceeded).map(({ key, row }) => alarmOf(key, row))]
}
