import { effect, signal } from '@preact/signals'

export const THEMES = ['system', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const KEY = 'espalier-theme'
const prefersDark = matchMedia('(prefers-color-scheme: dark)')
const systemIsDark = signal(prefersDark.matches)
prefersDark.addEventListener('change', ({ matches }) => {
  systemIsDark.value = matches
})

function readTheme(): Theme {
  // Storage is forbidden in some private windows; then the system decides.
  try {
    const found = localStorage.getItem(KEY)
    return THEMES.find((each) => each === found) ?? 'system'
  } catch {
    return 'system'
  }
}

export const theme = signal<Theme>(readTheme())
/** What is shown; charts on a canvas ask, everything else has style sheets. */
export const isDark = signal(false)

effect(() => {
  isDark.value = theme.value === 'system' ? systemIsDark.value : theme.value === 'dark'
  document.documentElement.dataset.theme = isDark.value ? 'dark' : 'light'
})

export function setTheme(next: Theme): void {
  theme.value = next
  try {
    localStorage.setItem(KEY, next)
  } catch {
    // It holds for this visit.
  }
}
