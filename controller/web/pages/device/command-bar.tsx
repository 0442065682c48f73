import type { Command } from '@espalier/shared/messages/controller'
import { useEffect, useRef, useState } from 'preact/hooks'
import { ConfirmDialog } from '../../parts/confirm-dialog.tsx'
import { type ApiFailure, callApi } from '../../state/api.ts'
import { listen, untilWatched } from '../../state/live.ts'

type Kind = Extract<Command, { slot: unknown }>['kind'] | 'restart-worker'

const NAMES: Readonly<Record<string, string>> = {
  'key-frame': 'Key frame',
  profile: 'Profile',
  pause: 'Pause',
  resume: 'Resume',
  'restart-worker': 'Restart worker',
  'roll-back': 'Roll back',
}

/** What stops or changes pictures is asked for twice. */
const CONFIRMED = {
  pause: {
    title: (device: string, slot: string) => `Pause ${device}/${slot}?`,
    sentence: 'It encodes and sends no frame until it is resumed.',
  },
  'roll-back': {
    title: (device: string, slot: string) => `Roll ${device}/${slot} back?`,
    sentence:
      'The slot goes back to the version of its family that it ran before the present one. Frames go on meanwhile.',
  },
  'restart-worker': {
    title: (device: string) => `Restart the worker of ${device}?`,
    sentence: 'Frames that are being encoded are lost; those that wait are not.',
  },
} as const

/** A device that is not there will not answer; it may hear the command when it is back. */
const ANSWER_MS = 10_000
const WATCH_MS = 2000

interface Ack {
  readonly command: string
  readonly result: string
  readonly reason?: string
}

const describe = (name: string, { result, reason }: Ack): string =>
  `${name}: ${result}${reason === undefined ? '' : `, ${reason}`}`

/** What an operator may ask a device for, and what it answered. */
export function CommandBar({ device, slot, isPaused }: { device: string; slot: string; isPaused: boolean }) {
  const [answer, setAnswer] = useState('')
  const [asking, setAsking] = useState<keyof typeof CONFIRMED>()
  const sent = useRef(new Map<string, string>())
  /** A device may answer before the controller has told what the command is called. */
  const early = useRef(new Map<string, Ack>())

  useEffect(
    () =>
      listen('device', ({ device: from, what, detail }) => {
        if (from !== device || what !== 'ack') return
        const ack = detail as Ack
        const name = sent.current.get(ack.command)
        if (name === undefined) early.current.set(ack.command, ack)
        else setAnswer(describe(name, ack))
      }),
    [device],
  )

  const send = async (kind: Kind): Promise<void> => {
    const name = NAMES[kind]!
    setAnswer(`${name}: sent`)
    early.current.clear()
    try {
      await untilWatched(WATCH_MS)
      const body = kind === 'restart-worker' ? { kind } : { kind, slot }
      const { command } = await callApi<{ command: string }>(`devices/${encodeURIComponent(device)}/commands`, {
        method: 'POST',
        body,
      })
      sent.current.set(command, name)
      const ack = early.current.get(command)
      if (ack !== undefined) setAnswer(describe(name, ack))
      setTimeout(
        () => setAnswer((shown) => (shown === `${name}: sent` ? `${name}: sent, no answer yet` : shown)),
        ANSWER_MS,
      )
    } catch (failure) {
      setAnswer((failure as ApiFailure).message)
    }
  }

  return (
    <>
      {(['key-frame', 'profile'] as const).map((kind) => (
        <button key={kind} type="button" onClick={() => void send(kind)}>
          {NAMES[kind]}
        </button>
      ))}
      <button type="button" onClick={() => (isPaused ? void send('resume') : setAsking('pause'))}>
        {isPaused ? 'Resume' : 'Pause…'}
      </button>
      <button type="button" onClick={() => setAsking('restart-worker')}>
        Restart worker…
      </button>
      <button type="button" class="danger" onClick={() => setAsking('roll-back')}>
        Roll back…
      </button>
      <span class="muted" role="status">
        {answer}
      </span>
      {asking === undefined ? null : (
        <ConfirmDialog
          title={CONFIRMED[asking].title(device, slot)}
          action={NAMES[asking]!}
          isDanger={asking !== 'pause'}
          onConfirm={() => void send(asking)}
          onClose={() => setAsking(undefined)}
        >
          <p>{CONFIRMED[asking].sentence}</p>
        </ConfirmDialog>
      )}
    </>
  )
}
