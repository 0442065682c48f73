/** One of a few, all of which are seen. */
export function Segmented<Value extends string>(props: {
  label: string
  value: Value
  choices: readonly { readonly value: Value; readonly text: string }[]
  onChange: (value: Value) => void
}) {
  return (
    <div class="segmented" role="group" aria-label={props.label}>
      {props.choices.map(({ value, text }) => (
        <button key={value} type="button" aria-pressed={value === props.value} onClick={() => props.onChange(value)}>
          {text}
        </button>
      ))}
    </div>
  )
}
