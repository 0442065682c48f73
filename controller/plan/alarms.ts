import type { Row } from './limits.ts'
import type { Prepared } from './prepare.ts'

export interface Alarm {
  readonly kind: 'site-infeasible' | 'gateway-infeasible' | 'power-infeasible' | 'carbon-infeasible' | 'slot-forced'
  /** `site:<id>`, `gateway:<id>`, `fleet` or `device/slot`. */
  readonly subject: string
  readonly message: string
}

function alarmOf(key: string, { planned, margin, total, reserved }: Row): Alarm {
  const isUplink = key.includes(':')
  const [kind] = key.split(':') as ['site' | 'gateway' | 'power' | 'carbon']
  const unit = isUplink ? 'bit/s' : key === 'power' ? 'mW' : 'micro-g/h'
  const subject = isUplink ? key : 'fleet'
  return {
    kind: `${kind}-infeasible`,
    subject,
    message: `Cannot keep the ${isUplink ? 'uplink' : key} of "${subject}": the cheapest configurations need ${Math.round(planned)} ${unit} and a margin of ${margin}, expected at most ${total - reserved}`,
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
