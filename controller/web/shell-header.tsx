import { Status } from './parts/status.tsx'
import { connection, summary } from './state/live.ts'
import { linkTo } from './state/router.ts'
import { setTheme, THEMES, type Theme, theme } from './state/theme.ts'

const PAGES = [
  ['', 'Fleet'],
  ['families', 'Families'],
  ['plan', 'Plan'],
  ['rollouts', 'Rollouts'],
  ['alerts', 'Alerts'],
  ['audit', 'Audit'],
] as const

const CONNECTION = {
  connecting: { kind: 'starting', text: 'connecting' },
  live: { kind: 'ok', text: 'live' },
  lost: { kind: 'lost', text: 'no answer' },
} as const

/** A trained tree: one stem, tiers on wires. */
function Mark() {
  return (
    <svg
      class="brand-mark"
      width="20"
      height="20"
      viewBox="0 0 20 20"
      aria-hidden="true"
      fill="none"
      stroke="currentColor"
      stroke-width="1.8"
    >
      <path d="M10 19 V3 M10 15 H4 Q2.5 15 2.5 12.5 M10 15 H16 Q17.5 15 17.5 12.5 M10 10 H5 Q3.5 10 3.5 7.5 M10 10 H15 Q16.5 10 16.5 7.5 M10 5 H7 Q6 5 6 3 M10 5 H13 Q14 5 14 3" />
    </svg>
  )
}

export function ShellHeader({ page }: { page: string }) {
  const { kind, text } = CONNECTION[connection.value]
  const alarms = summary.value?.alarmCount ?? 0
  return (
    <header class="shell-header">
      <a class="brand" href="#/">
        <Mark />
        Espalier
      </a>
      <nav aria-label="Pages">
        <ul>
          {PAGES.map(([path, title]) => (
            <li key={path}>
              <a href={linkTo(path === '' ? [] : [path])} {...(page === path ? { 'aria-current': 'page' } : {})}>
                {title}
              </a>
            </li>
          ))}
          <li>
            <a href="/api/docs">API</a>
          </li>
        </ul>
      </nav>
      <div class="aside">
        {alarms > 0 ? (
          <Status kind="attention" text={`${alarms} ${alarms === 1 ? 'alarm' : 'alarms'} of the plan`} />
        ) : null}
        <span role="status" aria-label="Connection to the controller">
          <Status kind={kind} text={text} />
        </span>
        <label class="row small">
          <span class="muted">Theme</span>
          <select value={theme.value} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
            {THEMES.map((each) => (
              <option key={each} value={each}>
                {each}
              </option>
            ))}
          </select>
        </label>
      </div>
    </header>
  )
}
