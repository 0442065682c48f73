/**
 * How full a budget is: used now, set aside for devices that do not answer (grey), and a mark where the plan wants it.
 * The numbers stand beside it as text.
 */
export function BudgetBar(props: {
  used: number
  total: number
  planned?: number | undefined
  reserved?: number | undefined
}) {
  const scale = (value: number) => (props.total > 0 ? Math.min(100, (100 * value) / props.total) : 0)
  const reserved = scale(props.reserved ?? 0)
  const isOver = props.used > props.total
  return (
    <svg class="budget-bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
      <rect class="track" width="100" height="8" rx="1" />
      <rect class={isOver ? 'used over' : 'used'} width={Math.min(100 - reserved, scale(props.used))} height="8" />
      <rect class="reserved" x={100 - reserved} width={reserved} height="8" />
      {props.planned === undefined ? null : (
        <rect class="planned" x={Math.max(0, scale(props.planned) - 0.4)} width="0.8" height="8" />
      )}
    </svg>
  )
}
