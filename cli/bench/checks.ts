/** One figure that an issue or a document states. */
export interface Check {
  readonly name: string
  readonly value: number
  readonly unit: string
  /** As stated: at most (`<=`) or at least (`>=`). */
  readonly limit: string
  readonly ok: boolean
}

/** What a bench found: its checks, and everything behind them. */
export interface Findings {
  readonly checks: readonly Check[]
  readonly details: unknown
  /** Tables for the results page, in Markdown. */
  readonly page?: string
  /** File name -> SVG text. */
  readonly plots?: Readonly<Record<string, string>>
}

export const atMost = (name: string, value: number, limit: number, unit: string): Check => ({
  name,
  value: Number(value.toPrecision(5)),
  unit,
  limit: `<= ${limit}`,
  ok: value <= limit,
})

export const atLeast = (name: string, value: number, limit: number, unit: string): Check => ({
  name,
  value: Number(value.toPrecision(5)),
  unit,
  limit: `>= ${limit}`,
  ok: value >= limit,
})
