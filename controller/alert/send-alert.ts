import type { Clock } from '@espalier/shared/clock'
import { TransportError } from '@espalier/shared/errors'
import type { ControllerConfig } from '../config.ts'
import type { StoredAlertEvent } from '../store/alerts.ts'
import type { Send } from './alerts.ts'
import { sendMail } from './send-mail.ts'
import { sendWebhook } from './send-webhook.ts'

type Settings = Pick<ControllerConfig, 'webhookSecret' | 'webhookAllow' | 'smtpUrl' | 'mailFrom'>

/** @returns Why a target cannot be used under these settings; undefined: it can. */
export function findTargetRefusal(target: string, settings: Settings): string | undefined {
  if (!target.startsWith('mailto:'))
    return settings.webhookSecret === undefined ? 'webhooks need the setting "webhookSecret"' : undefined
  return settings.smtpUrl === undefined || settings.mailFrom === undefined
    ? 'e-mail needs the settings "smtpUrl" and "mailFrom"'
    : undefined
}

/** Some receivers put their key into the URL: what comes after the host is theirs alone. */
export function targetForPeople(target: string): string {
  return target.startsWith('mailto:') ? target : `${new URL(target).origin}/...`
}

function mailOf(target: string, events: readonly StoredAlertEvent[]) {
  const [first] = events
  const fired = events.filter(({ event }) => event === 'fired').length
  const what = [
    ...(fired > 0 ? [`${fired} fired`] : []),
    ...(events.length > fired ? [`${events.length - fired} resolved`] : []),
  ].join(', ')
  return {
    to: target.slice('mailto:'.length),
    subject: `[${first!.severity}] ${first!.rule}: ${events.length === 1 ? `${first!.event}, ${first!.subject}` : what}`,
    text: `${events
      .map(({ atMs, event, message }) => `${new Date(atMs).toISOString()}  ${event.padEnd(8)}  ${message}`)
      .join('\n')}\n`,
  }
}

/** A sender for webhooks and e-mail under the settings of the controller. */
export function createSend(settings: Settings, clock: Clock): Send {
  const allowed = new Set(
    settings.webhookAllow
      .split(',')
      .map((host) => host.trim())
      .filter(Boolean),
  )
  return async (target, id, events) => {
    const refusal = findTargetRefusal(target, settings)
    if (refusal !== undefined)
      throw new TransportError(`Cannot send to "${targetForPeople(target)}": ${refusal}`, { retryable: false })
    if (target.startsWith('mailto:')) {
      await sendMail(mailOf(target, events), { smtpUrl: settings.smtpUrl!, from: settings.mailFrom! })
      return
    }
    const [first] = events
    const document = {
      version: 1,
      delivery: id,
      rule: first!.rule,
      severity: first!.severity,
      condition: first!.condition,
      events: events.map(({ id: event, atMs, event: what, subject, message, value, threshold, unit }) => ({
        id: event,
        at: new Date(atMs).toISOString(),
        event: what,
        subject,
        message,
        value,
        threshold,
        unit,
      })),
    }
    await sendWebhook(target, id, document, { secret: settings.webhookSecret!, allowed, nowMs: clock.wallMs() })
  }
}
