import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef, useState } from 'preact/hooks'
import { Note } from './note.tsx'

/** Ask before something that is not easily undone. Escape and "Cancel" close it; a refusal keeps it open, and what was typed. */
export function ConfirmDialog(props: {
  title: string
  action: string
  isDanger?: boolean
  isReady?: boolean
  /** @returns Why it was refused, if it can be. */
  onConfirm: () => undefined | Promise<string | undefined>
  onClose: () => void
  children: ComponentChildren
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  const [refusal, setRefusal] = useState<string>()
  const confirm = async (): Promise<void> => {
    const found = await props.onConfirm()
    if (found === undefined) dialog.current?.close()
    else setRefusal(found)
  }
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={props.onClose}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault()
          void confirm()
        }}
      >
        <h2 id={id}>{props.title}</h2>
        {props.children}
        {refusal === undefined ? null : <Note kind="lost">{refusal}</Note>}
        <div class="row">
          <button type="button" onClick={() => dialog.current?.close()}>
            Cancel
          </button>
          <button type="submit" class={props.isDanger ? 'danger' : 'primary'} disabled={props.isReady === false}>
            {props.action}
          </button>
        </div>
      </form>
    </dialog>
  )
}
