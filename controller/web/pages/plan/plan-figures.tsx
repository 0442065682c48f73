import type { FleetSummary } from '../../../api/routes/fleet-schemas.ts'
import { Figure } from '../../parts/figure.tsx'
import * as format from '../../state/format.ts'

/** The plan that is in force. */
export function PlanFigures({ summary: { plan, fleet, power } }: { summary: FleetSummary }) {
  return (
    <section class="panel strip" aria-label="The plan in force">
      <dl class="figures">
        <Figure
          name="Utility"
          value={format.utility(plan?.value)}
          detail={plan === undefined ? 'nothing is planned' : `of ${format.count(plan.slots)} slots`}
        />
        <Figure
          name="Gap to the optimum"
          value={format.percent(plan?.gap)}
          detail={plan === undefined ? '' : `no plan exceeds ${format.utility(plan.bound)}`}
        />
        <Figure
          name="Power"
          value={format.power(fleet.powerW)}
          detail={
            power.total === undefined
              ? 'no budget'
              : `of ${format.power(power.total)}, planned ${format.power(power.planned)}`
          }
        />
        <Figure
          name="Price of power"
          value={power.price === undefined || power.price === 0 ? 'not scarce' : `${format.utility(power.price)} /W`}
          detail="utility of one watt more"
        />
        <Figure name="Rate" value={format.rate(fleet.rateBps)} detail="sent by all sites" />
      </dl>
    </section>
  )
}
