import { z } from 'zod'

const time = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day is 00:00 to 23:59')
const isTimeZone = (name: string): boolean => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}

/** A name as in the IANA database, e.g. `Europe/Berlin`. */
export const timeZoneSchema = z
  .string()
  .max(60)
  .refine(isTimeZone, 'expected the name of a time zone, e.g. Europe/Berlin')

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const

/** A window that comes each day, or on some; it may go over midnight and then belongs to the day on which it begins. */
export const hoursSchema = z.strictObject({
  from: time,
  to: time,
  days: z.array(z.enum(DAYS)).min(1).optional(),
  /** Of devices that have no label `time-zone`; absent: UTC. */
  timeZone: timeZoneSchema.optional(),
})
export type Hours = z.infer<typeof hoursSchema>

const formats = new Map<string, Intl.DateTimeFormat>()

/** Day of the week and minutes since midnight, as clocks on the wall there show. */
function wallTime(nowMs: number, timeZone: string): { day: number; minute: number } {
  const format =
    formats.get(timeZone) ??
    new Intl.DateTimeFormat('en-GB', {
      timeZone,
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
      hourCycle: 'h23',
    })
  formats.set(timeZone, format)
  const parts = Object.fromEntries(format.formatToParts(nowMs).map(({ type, value }) => [type, value]))
  return {
    day: DAYS.indexOf(parts.weekday!.toLowerCase() as (typeof DAYS)[number]),
    minute: Number(parts.hour) * 60 + Number(parts.minute),
  }
}

const minuteOf = (text: string): number => Number(text.slice(0, 2)) * 60 + Number(text.slice(3))

/**
 * Whether a window is open, by the controller's clock: a device's own may be wrong by days.
 *
 * @param deviceTimeZone What the device says of its site; not believed where it names no zone.
 */
export function isWithinHours(hours: Hours, nowMs: number, deviceTimeZone: string | undefined): boolean {
  const known = deviceTimeZone !== undefined && isTimeZone(deviceTimeZone) ? deviceTimeZone : undefined
  const { day, minute } = wallTime(nowMs, known ?? hours.timeZone ?? 'UTC')
  const [from, to] = [minuteOf(hours.from), minuteOf(hours.to)]
  const isOn = (begin: number): boolean => hours.days === undefined || hours.days.includes(DAYS[(begin + 7) % 7]!)
  // From and to alike: the whole day.
  if (from < to) return isOn(day) && minute >= from && minute < to
  return (minute >= from && isOn(day)) || (minute < to && isOn(day - 1))
}
