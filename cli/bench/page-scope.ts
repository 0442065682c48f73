/** What code that is sent into a page uses of a browser; the rest of this program has none. */
export interface PageScope {
  readonly document: {
    querySelector(selector: string): PageElement | null
    querySelectorAll(selector: string): ArrayLike<PageElement>
  }
  requestAnimationFrame(callback: (nowMs: number) => void): number
  readonly PerformanceObserver: new (
    callback: (list: { getEntries(): readonly { readonly duration: number }[] }) => void,
  ) => { observe(options: { type: 'longtask' }): void; disconnect(): void }
}

interface PageElement {
  readonly textContent: string | null
  readonly scrollHeight: number
  readonly clientHeight: number
  scrollTop: number
}
