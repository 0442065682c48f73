import type { ComponentChildren } from 'preact'
import { useEffect, useId, useRef } from 'preact/hooks'

/** Ask before something that is not easily undone. Escape and "Cancel" close it. */
export function ConfirmDialog(props: {
  title: string
  action: string
  isDanger?: boolean
  isReady?: boolean
  onConfirm: () => void
  onClose: () => void
  children: ComponentChildren
}) {
  const dialog = useRef<HTMLDialogElement>(null)
  const id = useId()
  useEffect(() => dialog.current?.showModal(), [])
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={props.onClose}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault()
          props.onConfirm()
          dialog.current?.close()
        }}
      >
        <h2 id={id}>{props.title}</h2>
        {props.children}
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
