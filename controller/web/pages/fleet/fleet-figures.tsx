import type { FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import type { Health } from '../../../overview/judge-health.ts'
import { Figure } from '../../parts/figure.tsx'
import { HEALTH_WORDS, Status } from '../../parts/status.tsx'
import * as format from '../../state/format.ts'
import { linkTo } from '../../state/router.ts'

const WORST_FIRST: readonly Health[] = ['lost', 'attention', 'starting', 'resting', 'ok']

function HealthLinks({ byHealth }: { byHealth: FleetSummary['fleet']['byHealth'] }) {
  return (
    <span class="row">
      {WORST_FIRST.filter((health) => (byHealth[health] ?? 0) > 0).map((health) => (
        <a key={health} href={linkTo([], { health })} title="Show these devices">
          <Status kind={health} text={`${format.count(byHealth[health])} ${HEALTH_WORDS[health]}`} />
        </a>
      ))}
    </span>
  )
}

/** Whose word the watts are: measured or modelled. */
function describeScopes(byScope: FleetSummary['byScope']): string {
  const parts = Object.entries(byScope).map(([scope, devices]) => `${scope} ${format.count(devices)}`)
  return parts.length === 0 ? 'not measured yet' : parts.join(', ')
}

export function FleetFigures({ summary }: { summary: FleetSummary }) {
  const { fleet, plan, power } = summary
  return (
    <section class="panel strip" aria-label="The fleet in figures">
      <dl class="figures">
        <div class="figure fleet-health">
          <dt>
            {format.count(fleet.devices)} {fleet.devices === 1 ? 'device' : 'devices'}, {format.count(summary.sites)}{' '}
            {summary.sites === 1 ? 'site' : 'sites'}
          </dt>
          <dd>
            <HealthLinks byHealth={fleet.byHealth} />
          </dd>
        </div>
        <Figure
          name="Power"
          value={format.power(fleet.powerW)}
          detail={
            power.total === undefined
              ? describeScopes(summary.byScope)
              : `of ${format.power(power.total)}; ${describeScopes(summary.byScope)}`
          }
        />
        <Figure
          name="Rate"
          value={format.rate(fleet.rateBps)}
          detail={`${format.perSecond(fleet.framesPerSecond)} frames`}
        />
        <Figure name="Energy a frame" value={format.energy(fleet.joulesPerFrame)} detail="idle included" />
        <Figure name="Quality" value={format.decibels(fleet.psnrDb)} detail="mean PSNR of those that measure" />
        <Figure
          name="Carbon"
          value={fleet.gramsPerHour > 0 ? `${format.grams(fleet.gramsPerHour)}/h` : format.UNKNOWN}
          detail={fleet.gramsPerHour > 0 ? 'CO2 equivalent' : 'no intensity known'}
        />
        <Figure
          name="Gap to the optimum"
          value={plan === undefined ? format.UNKNOWN : format.percent(plan.gap)}
          detail={
            plan === undefined
              ? 'nothing is planned'
              : `utility ${format.utility(plan.value)} of at most ${format.utility(plan.bound)}`
          }
        />
      </dl>
    </section>
  )
}
