import { describeError, TransportError } from '@espalier/shared/errors'
import { createTransport } from 'nodemailer'
import { isLoopback } from '../config.ts'

export interface MailOptions {
  /** `smtp://` (STARTTLS) or `smtps://`, with name and password in it; never logged. */
  readonly smtpUrl: string
  readonly from: string
}

export interface Mail {
  readonly to: string
  readonly subject: string
  readonly text: string
}

const TIMEOUT_MS = 15_000

/**
 * Send a plain mail. Beyond this machine nothing is said before the connection is encrypted.
 *
 * @throws {TransportError} If the server does not take it; retryable unless it refuses for good.
 */
export async function sendMail(mail: Mail, { smtpUrl, from }: MailOptions): Promise<void> {
  const url = new URL(smtpUrl)
  const isLocal = isLoopback(url.hostname.replace(/^\[|\]$/g, ''))
  const isSecure = url.protocol === 'smtps:'
  const transport = createTransport({
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || (isSecure ? 465 : 587)),
    secure: isSecure,
    requireTLS: !isSecure && !isLocal,
    ignoreTLS: !isSecure && isLocal,
    ...(url.username === ''
      ? {}
      : { auth: { user: decodeURIComponent(url.username), pass: decodeURIComponent(url.password) } }),
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  try {
    await transport.sendMail({ from, ...mail })
  } catch (cause) {
    const { responseCode } = cause as { responseCode?: number }
    throw new TransportError(`Cannot send mail by "${url.host}": ${withoutSecret(describeError(cause), url)}`, {
      // 5xx: refused for good (RFC 5321 4.2.1).
      retryable: responseCode === undefined || responseCode < 500,
    })
  } finally {
    transport.close()
  }
}

/** Servers may repeat what they were told. */
function withoutSecret(text: string, url: URL): string {
  const secrets = [url.password, decodeURIComponent(url.password)].filter((secret) => secret !== '')
  return secrets.reduce((left, secret) => left.replaceAll(secret, '***'), text)
}
