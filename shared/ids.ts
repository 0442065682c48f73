import { z } from 'zod'

/** Device ids are MQTT user names and topic levels: no `+`, `#`, `/`; never starting with `_` (reserved). */
export const deviceIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a device id is 1 to 63 of a-z, 0-9 and -, starting with a letter or digit')
  .brand<'device'>()
export type DeviceId = z.infer<typeof deviceIdSchema>

export const slotIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,30}$/, 'a slot id is 1 to 31 of a-z, 0-9 and -')
  .brand<'slot'>()
export type SlotId = z.infer<typeof slotIdSchema>

export const siteIdSchema = z
  .string()
  .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'a site id is 1 to 63 of a-z, 0-9 and -')
  .brand<'site'>()
export type SiteId = z.infer<typeof siteIdSchema>

/** Lower-case hexadecimal SHA-256. */
export const digestSchema = z
  .string()
  .regex(/^[0-9a-f]{64}$/, 'a digest is 64 lower-case hexadecimal digits')
  .brand<'digest'>()
export type Digest = z.infer<typeof digestSchema>
