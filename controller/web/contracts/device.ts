import type { Desired } from '@espalier/shared/messages/controller'
import type { Birth, Reported } from '@espalier/shared/messages/device'
import type { z } from 'zod'
import type { deviceDetailSchema, deviceEventsSchema, whySchema } from '../../api/schemas.ts'

export type DeviceDetail = z.infer<typeof deviceDetailSchema>
export type DeviceEvents = z.infer<typeof deviceEventsSchema>
export type Why = z.infer<typeof whySchema>
export type SlotView = DeviceDetail['slots'][number]
export type SlotBirth = Birth['slots'][number]
export type SlotReported = Reported['slots'][number]
export type SlotDesired = Desired['slots'][number]
