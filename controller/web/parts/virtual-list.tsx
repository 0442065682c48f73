import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'

export interface Column<Key extends string> {
  readonly key: Key
  readonly title: string
  /** Of a CSS grid, e.g. `minmax(90px, 1fr)`. */
  readonly width: string
  readonly isNumber?: boolean
  readonly isSortable?: boolean
  /** On several lines where one is too short: `rowPx` must leave room for them. */
  readonly isWrapped?: boolean
}

export interface VirtualListProps<Item, Key extends string> {
  readonly label: string
  readonly columns: readonly Column<Key>[]
  readonly total: number
  /** Undefined while it is on its way. */
  readonly itemAt: (index: number) => Item | undefined
  /** Of an item alone. The first is what the keyboard goes to: a link or button where there is something behind it. */
  readonly cell: (item: Item, column: Key) => ComponentChildren
  /** Which part is seen, last one excluded. */
  readonly onRange?: (first: number, end: number) => void
  readonly sort?: { readonly key: string; readonly order: 'up' | 'down' }
  readonly onSort?: (key: Key) => void
  readonly height: number
  /** Said where there is no row. */
  readonly whenEmpty?: string | undefined
  readonly minWidth?: number
  readonly rowPx?: number
}

const ROW_PX = 30
const HEAD_PX = 32
const OVERSCAN = 4

/** A row of the document. Rows that go out of sight come back as others: making one takes as long as changing ten. */
interface Drawn<Item> {
  readonly index: number
  readonly item: Item | undefined
  /** While the item is on its way, those of the one that was here before, which are not shown. */
  readonly cells: ComponentChildren
  readonly node: ComponentChildren
}

function classOf({ isNumber, isWrapped }: Column<string>): string {
  if (isNumber) return 'number'
  return isWrapped ? 'wrapped' : ''
}

function drawRow<Item, Key extends string>(
  { columns, cell, rowPx = ROW_PX }: VirtualListProps<Item, Key>,
  row: { readonly key: number; readonly index: number; readonly item: Item | undefined },
  known: Drawn<Item> | undefined,
): Drawn<Item> {
  const { key, index, item } = row
  if (known !== undefined && known.index === index && known.item === item) return known
  const cells =
    item === undefined || item === known?.item
      ? known?.cells
      : columns.map((column) => (
          <div key={column.key} role="cell" class={classOf(column)}>
            {cell(item, column.key)}
          </div>
        ))
  const node = (
    <div
      key={key}
      class={item === undefined ? 'grid-row grid-body-row is-loading' : 'grid-row grid-body-row'}
      role="row"
      aria-rowindex={index + 2}
      aria-busy={item === undefined}
      data-index={index}
      style={{ transform: `translateY(${index * rowPx}px)` }}
    >
      {cells ?? <div role="cell" />}
    </div>
  )
  return { index, item, cells, node }
}

/** A table of any length of which only what is seen is in the document. Arrow keys, page keys, Home and End go through it. */
export function VirtualList<Item, Key extends string>(props: VirtualListProps<Item, Key>) {
  const scroller = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  const toFocus = useRef<number>(undefined)
  const [active, setActive] = useState(0)
  const drawn = useRef<ReadonlyMap<number, Drawn<Item>>>(new Map())
  const rowPx = props.rowPx ?? ROW_PX
  const room = props.height - HEAD_PX
  const first = Math.max(0, Math.floor(top / rowPx) - OVERSCAN)
  const end = Math.min(props.total, Math.ceil((top + room) / rowPx) + OVERSCAN)

  useEffect(() => props.onRange?.(first, end), [first, end, props.onRange])
  useEffect(() => {
    if (toFocus.current === undefined) return
    const row = scroller.current?.querySelector<HTMLElement>(`[data-index="${toFocus.current}"]`)
    const target = row?.querySelector<HTMLElement>('a, button')
    if (target) {
      toFocus.current = undefined
      target.focus({ preventScroll: true })
    }
  })

  const goTo = (index: number): void => {
    const next = Math.max(0, Math.min(props.total - 1, index))
    const element = scroller.current!
    const [begin, finish] = [next * rowPx, (next + 1) * rowPx]
    if (begin < element.scrollTop) element.scrollTop = begin
    else if (finish > element.scrollTop + room) element.scrollTop = finish - room
    toFocus.current = next
    setActive(next)
    setTop(element.scrollTop)
  }
  const onKeyDown = (event: KeyboardEvent): void => {
    const page = Math.floor(room / rowPx)
    const steps: Record<string, number> = {
      ArrowDown: active + 1,
      ArrowUp: active - 1,
      PageDown: active + page,
      PageUp: active - page,
      Home: 0,
      End: props.total - 1,
    }
    const next = steps[event.key]
    if (next === undefined || (event.target as HTMLElement).closest('.grid-head') !== null) return
    event.preventDefault()
    goTo(next)
  }

  // What did not change since the last drawing is the same node, which costs nothing.
  const window = Math.ceil(room / rowPx) + 1 + 2 * OVERSCAN
  const next = new Map<number, Drawn<Item>>()
  for (let index = first; index < end; index++) {
    const key = index % window
    next.set(key, drawRow(props, { key, index, item: props.itemAt(index) }, drawn.current.get(key)))
  }
  drawn.current = next
  const rows = [...next.values()].map(({ node }) => node)

  const columns = props.columns.map(({ width }) => width).join(' ')
  const ariaSort = (key: string) =>
    props.sort?.key === key ? (props.sort.order === 'up' ? 'ascending' : 'descending') : 'none'
  return (
    <div class="grid-list">
      <div
        class="grid-scroll"
        role="table"
        aria-label={props.label}
        aria-rowcount={props.total + 1}
        tabIndex={0}
        ref={scroller}
        style={{
          height: `${props.height}px`,
          '--columns': columns,
          '--list-width': `${props.minWidth ?? 0}px`,
          '--row-height': `${rowPx}px`,
        }}
        onScroll={(event) => {
          const list = event.currentTarget
          // The row that has the focus is about to be another one.
          const focused = document.activeElement?.closest<HTMLElement>('[data-index]')
          const at = focused && list.contains(focused) ? Number(focused.dataset.index) * rowPx : undefined
          const isGone =
            at !== undefined &&
            (at < list.scrollTop - rowPx * OVERSCAN || at > list.scrollTop + room + rowPx * OVERSCAN)
          if (isGone && toFocus.current === undefined) list.focus({ preventScroll: true })
          setTop(list.scrollTop)
        }}
        onKeyDown={onKeyDown}
      >
        <div class="grid-row grid-head" role="row" aria-rowindex={1}>
          {props.columns.map(({ key, title, isNumber, isSortable }) => (
            <div
              key={key}
              role="columnheader"
              class={isNumber ? 'number' : ''}
              {...(isSortable ? { 'aria-sort': ariaSort(key) } : {})}
            >
              {isSortable ? (
                <button type="button" onClick={() => props.onSort?.(key)}>
                  {title}
                  <span aria-hidden="true">
                    {props.sort?.key === key ? (props.sort.order === 'up' ? '▲' : '▼') : ''}
                  </span>
                </button>
              ) : (
                title
              )}
            </div>
          ))}
        </div>
        <div class="grid-space" role="rowgroup" style={{ height: `${props.total * rowPx}px` }}>
          {rows}
        </div>
        {props.total === 0 && props.whenEmpty !== undefined ? (
          <p class="grid-empty muted" role="status">
            {props.whenEmpty}
          </p>
        ) : null}
      </div>
    </div>
  )
}
