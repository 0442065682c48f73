import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'

export interface Column<Key extends string> {
  readonly key: Key
  readonly title: string
  /** Of a CSS grid, e.g. `minmax(90px, 1fr)`. */
  readonly width: string
  readonly isNumber?: boolean
  readonly isSortable?: boolean
}

export interface VirtualListProps<Item, Key extends string> {
  readonly label: string
  readonly columns: readonly Column<Key>[]
  readonly total: number
  /** Undefined while it is on its way. */
  readonly itemAt: (index: number) => Item | undefined
  readonly keyOf: (item: Item) => string
  /** The first is what the keyboard goes to: a link or button where there is something behind it. */
  readonly cell: (item: Item, column: Key) => ComponentChildren
  /** Which part is seen, last one excluded. */
  readonly onRange?: (first: number, end: number) => void
  readonly sort?: { readonly key: string; readonly order: 'up' | 'down' }
  readonly onSort?: (key: Key) => void
  readonly height: number
  readonly minWidth?: number
}

const ROW_PX = 30
const HEAD_PX = 32
const OVERSCAN = 6

/** A table of any length of which only what is seen is in the document. Arrow keys, page keys, Home and End go through it. */
export function VirtualList<Item, Key extends string>(props: VirtualListProps<Item, Key>) {
  const scroller = useRef<HTMLDivElement>(null)
  const [top, setTop] = useState(0)
  const toFocus = useRef<number>(undefined)
  const [active, setActive] = useState(0)
  const room = props.height - HEAD_PX
  const first = Math.max(0, Math.floor(top / ROW_PX) - OVERSCAN)
  const end = Math.min(props.total, Math.ceil((top + room) / ROW_PX) + OVERSCAN)

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
    const [begin, finish] = [next * ROW_PX, (next + 1) * ROW_PX]
    if (begin < element.scrollTop) element.scrollTop = begin
    else if (finish > element.scrollTop + room) element.scrollTop = finish - room
    toFocus.current = next
    setActive(next)
    setTop(element.scrollTop)
  }
  const onKeyDown = (event: KeyboardEvent): void => {
    const page = Math.floor(room / ROW_PX)
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
        style={{ height: `${props.height}px`, '--columns': columns, '--list-width': `${props.minWidth ?? 0}px` }}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
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
        <div class="grid-space" role="rowgroup" style={{ height: `${props.total * ROW_PX}px` }}>
          {Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i).map((index) => {
            const item = props.itemAt(index)
            return (
              <div
                key={item === undefined ? `at ${index}` : props.keyOf(item)}
                class="grid-row grid-body-row"
                role="row"
                aria-rowindex={index + 2}
                data-index={index}
                style={{ transform: `translateY(${index * ROW_PX}px)` }}
              >
                {props.columns.map(({ key, isNumber }, i) => (
                  <div key={key} role="cell" class={isNumber ? 'number' : ''}>
                    {item === undefined ? (i === 0 ? 'loading' : '') : props.cell(item, key)}
                  </div>
                ))}
              </div>
            )
          })}
        </div>
      </div>
    </div>
  )
}
