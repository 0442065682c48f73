import { useEffect, useRef } from 'preact/hooks'
import { AlertsPage } from './pages/alerts/alerts-page.tsx'
import { AuditPage } from './pages/audit/audit-page.tsx'
import { DevicePage } from './pages/device/device-page.tsx'
import { FamilyPage } from './pages/family/family-page.tsx'
import { FleetPage } from './pages/fleet/fleet-page.tsx'
import { PlanPage } from './pages/plan/plan-page.tsx'
import { RolloutsPage } from './pages/rollouts/rollouts-page.tsx'
import { Note } from './parts/note.tsx'
import { ShellHeader } from './shell-header.tsx'
import { startLive } from './state/live.ts'
import { route } from './state/router.ts'

function Page({ path }: { path: readonly string[] }) {
  const [name, id] = path
  switch (name) {
    case undefined:
      return <FleetPage />
    case 'device':
      return id === undefined ? <FleetPage /> : <DevicePage key={id} id={id} />
    case 'families':
      return <FamilyPage family={id} />
    case 'plan':
      return <PlanPage />
    case 'rollouts':
      return <RolloutsPage id={id} />
    case 'alerts':
      return <AlertsPage />
    case 'audit':
      return <AuditPage />
    default:
      return (
        <>
          <h1>Not here</h1>
          <Note>
            There is no page "{name}". <a href="#/">Go to the fleet.</a>
          </Note>
        </>
      )
  }
}

const TITLES: Readonly<Record<string, string>> = {
  families: 'Families',
  plan: 'Plan',
  rollouts: 'Rollouts',
  alerts: 'Alerts',
  audit: 'Audit',
}

export function App() {
  const { path } = route.value
  const main = useRef<HTMLElement>(null)
  const isFirst = useRef(true)
  const place = path.slice(0, 2).join('/')
  useEffect(startLive, [])
  useEffect(() => {
    const [name, id] = path
    document.title = `${name === 'device' ? id : (TITLES[name ?? ''] ?? 'Fleet')} – Espalier`
    // A new page is read from its beginning; the first one is where the browser is anyway.
    if (!isFirst.current) {
      main.current?.focus({ preventScroll: true })
      scrollTo(0, 0)
    }
    isFirst.current = false
  }, [place])
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <ShellHeader page={path[0] === 'device' ? '' : (path[0] ?? '')} />
      <main id="main" ref={main} tabIndex={-1}>
        <Page path={path} />
      </main>
    </>
  )
}
