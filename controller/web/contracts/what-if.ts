/** `POST plan/what-if`: what the planner would do now under other budgets. Nothing is committed or sent. */
export interface WhatIfRow {
  readonly limit: number
  readonly reserved: number
  readonly planned: number
  readonly margin: number
  readonly isKept: boolean
  /** Utility of one unit more. */
  readonly price: number
  readonly worth: string
}

export interface WhatIfTotals {
  readonly value: number
  readonly bound: number
  readonly gap: number
  readonly rateBps: number
  readonly powerW: number
  /** 0 where no site has a carbon intensity. */
  readonly carbonGPerH: number
  readonly psnrDb?: number
}

interface WhatIfSide {
  readonly configurationId: string
  readonly utility: number
  readonly rateBps: number
  readonly powerW: number
  readonly latencyMs: number
  readonly psnrDb: number
}

export interface WhatIfChange {
  readonly device: string
  readonly slot: string
  readonly site: string
  readonly now: WhatIfSide
  readonly then: WhatIfSide
  /** then - now. */
  readonly utility: number
  readonly rateBps: number
  readonly powerW: number
  readonly psnrDb: number
}

export interface WhatIf {
  readonly now: WhatIfTotals
  readonly then: WhatIfTotals
  readonly rows: readonly {
    readonly key: string
    readonly unit: string
    readonly now?: WhatIfRow
    readonly then?: WhatIfRow
  }[]
  readonly slots: { readonly total: number; readonly changed: number }
  readonly changes: readonly WhatIfChange[]
  readonly alarms: readonly {
    readonly kind: string
    readonly subject: string
    readonly message: string
    readonly isNew: boolean
  }[]
  readonly tookMs: number
}
