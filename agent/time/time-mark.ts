import { uptime } from 'node:os'
import { join } from 'node:path'
import { type ClockQuality, clockQualitySchema } from '@espalier/shared/messages/envelope'
import { z } from 'zod'
import { findText, type SystemFiles } from '../sensors/system-files.ts'

/** A moment, in every way that this machine can tell time. */
export const timeMarkSchema = z.object({
  /** Names this run of the machine's kernel: within it, uptime is exact, suspended or not. */
  machineBoot: z.string(),
  uptimeMs: z.number().min(0),
  wallMs: z.number(),
  clk: clockQualitySchema,
})
export type TimeMark = z.infer<typeof timeMarkSchema>

/** Whether differences of wall times across a reboot mean anything. */
export const isTrusted = (clk: ClockQuality): boolean => clk === 'ntp' || clk === 'rtc'

/**
 * How long ago something was.
 *
 * @returns Milliseconds, >= 0; undefined if nobody can know: the machine was started again, and has no clock that ran on.
 */
export function elapsedMs(from: TimeMark, to: TimeMark): number | undefined {
  if (from.machineBoot === to.machineBoot) return Math.max(0, to.uptimeMs - from.uptimeMs)
  if (!isTrusted(from.clk) || !isTrusted(to.clk) || to.wallMs < from.wallMs) return undefined
  return to.wallMs - from.wallMs
}

/** Of this run of the kernel; without one, of this process. */
export function readMachineBoot(root: string, files: SystemFiles, fallback: string): string {
  return findText(files, join(root, 'proc/sys/kernel/random/boot_id')) ?? fallback
}

export const readUptimeMs = (): number => uptime() * 1000
