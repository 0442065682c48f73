/** Heads of columns that lie side by side. @param isNumber Of columns of numbers, which are aligned by their ends. */
export function Heads({ titles, isNumber = false }: { titles: readonly string[]; isNumber?: boolean }) {
  return titles.map((title) => (
    <th key={title} scope="col" class={isNumber ? 'number' : ''}>
      {title}
    </th>
  ))
}
