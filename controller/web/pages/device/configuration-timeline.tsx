import { alphaOf, shortConfiguration, timeOfDay } from '../../state/format.ts'

interface Band {
  readonly configurationId: string
  readonly fromMs: number
  readonly toMs: number
}

const WIDTH = 1000
const HEIGHT = 44
/** Narrower bands have no room for words. */
const WORDS_PX = 150

/** Stretches of time under one configuration. */
function bandsOf(points: readonly { readonly atMs: number; readonly configurationId: string }[]): Band[] {
  const bands: { configurationId: string; fromMs: number; toMs: number }[] = []
  for (const { atMs, configurationId } of points) {
    const last = bands.at(-1)
    if (last !== undefined) last.toMs = atMs
    if (last?.configurationId !== configurationId) bands.push({ configurationId, fromMs: atMs, toMs: atMs })
  }
  return bands
}

/** What ran when: a band for each configuration, the higher the lower its alpha is, and all of them as a list. */
export function ConfigurationTimeline({
  points,
}: {
  points: readonly { readonly atMs: number; readonly configurationId: string }[]
}) {
  const bands = bandsOf(points)
  const [fromMs, toMs] = [points[0]!.atMs, points.at(-1)!.atMs]
  const x = (ms: number) => (WIDTH * (ms - fromMs)) / Math.max(1, toMs - fromMs)
  const graphs = [...new Set(bands.map(({ configurationId }) => configurationId.split('/')[1]))]
  return (
    <figure class="timeline">
      <figcaption>
        <span class="name">Configurations</span>{' '}
        <span class="muted small">
          {bands.length} {bands.length === 1 ? 'stretch' : 'stretches'}, from {timeOfDay(fromMs)} to {timeOfDay(toMs)},
          drawn the higher the lower alpha is: more bits
        </span>
        <span class="row small">
          {graphs.map((variant, i) => (
            <span key={variant} class={`key key-${(i % 4) + 1}`}>
              {variant}
            </span>
          ))}
        </span>
      </figcaption>
      <svg
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={`${bands.length} stretches of configurations, listed below`}
      >
        {bands.map((band) => {
          const alpha = alphaOf(band.configurationId)
          const height = 10 + 32 * (1 - alpha / 255)
          const series = (graphs.indexOf(band.configurationId.split('/')[1]) % 4) + 1
          return (
            <rect
              key={band.fromMs}
              class={`band band-${series}`}
              x={x(band.fromMs)}
              width={Math.max(1, x(band.toMs) - x(band.fromMs))}
              y={HEIGHT - height}
              height={height}
            >
              <title>
                {shortConfiguration(band.configurationId)}, {timeOfDay(band.fromMs)} to {timeOfDay(band.toMs)}
              </title>
            </rect>
          )
        })}
      </svg>
      <div class="timeline-words" aria-hidden="true">
        {bands
          .filter((band) => x(band.toMs) - x(band.fromMs) > WORDS_PX)
          .map((band) => (
            <span
              key={band.fromMs}
              style={{ left: `${x(band.fromMs) / 10}%`, width: `${(x(band.toMs) - x(band.fromMs)) / 10}%` }}
            >
              {shortConfiguration(band.configurationId)}
            </span>
          ))}
      </div>
      <details>
        <summary class="small">As a list</summary>
        <ol class="small">
          {bands
            .slice(-50)
            .reverse()
            .map((band) => (
              <li key={band.fromMs}>
                {timeOfDay(band.fromMs)} to {timeOfDay(band.toMs)}:{' '}
                <span class="mono">{shortConfiguration(band.configurationId)}</span>
              </li>
            ))}
        </ol>
      </details>
    </figure>
  )
}
