import './node/globals.ts'
import { describeError } from '@espalier/shared/errors'
import { formatPower, formatRate } from '@espalier/shared/units'
import type { Log } from '../log.ts'
import type { AgentView } from '../surroundings.ts'
import { type AgentOffer, fetchOffer } from './agent-offer.ts'
import { Rates } from './rates.ts'
import { readSettings, showSettings } from './settings-form.ts'
import { startAgent } from './start-agent.ts'

const find = <Kind extends HTMLElement>(selector: string): Kind => document.querySelector<Kind>(selector)!
const form = find<HTMLFormElement>('#settings')
const summary = find('#summary')
const problem = find('#error')
const figures = find('#figures')
const messages = find('#messages')
const stopButton = find<HTMLButtonElement>('#stop')
const startButton = find<HTMLButtonElement>('#settings button')

const MAX_MESSAGES = 50

function addMessage(text: string): void {
  const item = document.createElement('li')
  const time = document.createElement('time')
  time.textContent = new Date().toLocaleTimeString()
  item.append(time, ` ${text}`)
  messages.prepend(item)
  while (messages.children.length > MAX_MESSAGES) messages.lastElementChild?.remove()
}

/** @param level What is for the console alone is not shown. */
const tell =
  (level: 'debug' | 'info' | 'warn' | 'error') =>
  (first: unknown, text?: string): void => {
    console[level](first, text ?? '')
    if (level === 'debug') return
    const { reason } = (typeof first === 'object' && first !== null ? first : {}) as { reason?: string }
    addMessage([text ?? String(first), reason].filter(Boolean).join(': '))
  }
const log = { debug: tell('debug'), info: tell('info'), warn: tell('warn'), error: tell('error') } as unknown as Log

/** Set the rows that are named; the others stay. */
function showFigures(rows: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(rows)) {
    let cell = figures.querySelector<HTMLElement>(`[data-figure="${name}"]`)
    if (cell === null) {
      const term = document.createElement('dt')
      term.textContent = name
      cell = document.createElement('dd')
      cell.dataset.figure = name
      figures.append(term, cell)
    }
    if (cell.textContent !== value) cell.textContent = value
  }
}

const rates = new Rates()

function showView({ isConnected, state, reported, telemetry }: AgentView): void {
  const [slot] = telemetry.slots
  const [said] = reported.slots
  const connection = isConnected ? 'connected' : 'not connected: it tries again'
  const condition = [state.state, state.reason].filter(Boolean).join(': ')
  const text = `${connection}; ${condition}`
  if (summary.textContent !== text) summary.textContent = text
  if (slot === undefined || said === undefined) return
  const rate = rates.take(performance.now(), telemetry, slot)
  const energy = telemetry.energy[0]
  const plusMinus = energy === undefined ? '' : ` ± ${Math.round(100 * energy.uncertainty)} % (${energy.source})`
  showFigures({
    configuration: slot.configuration,
    phase: [said.phase, said.reason].filter(Boolean).join(': '),
    'plan, generation': String(reported.gen),
    frames: `${slot.frames} done, ${slot.dropped} dropped, ${slot.late} late, ${slot.unsent} not sent`,
    'bits of frames':
      rate === undefined ? '-' : `${formatRate(rate.bps)} now, ${(slot.bits / 8e6).toFixed(2)} MB in all`,
    energy:
      rate?.joulesPerFrame === undefined
        ? '-'
        : `${rate.joulesPerFrame.toFixed(2)} J/frame, ${formatPower(rate.powerW)}${plusMinus}`,
    quality: slot.psnrCount === 0 ? '-' : `${(slot.psnrSum / slot.psnrCount).toFixed(1)} dB`,
    'waiting messages': `${telemetry.self.spoolBytes} bytes`,
    'pressed or slowed': telemetry.machine?.throttledNow.join(', ') || 'no',
  })
}

let stopping: AbortController | undefined

async function start(offer: AgentOffer): Promise<void> {
  if (stopping !== undefined || !form.reportValidity()) return
  const settings = readSettings(form)
  stopping = new AbortController()
  problem.textContent = ''
  summary.textContent = 'starting'
  form.inert = true
  startButton.disabled = true
  stopButton.hidden = false
  stopButton.focus()
  try {
    await startAgent(
      settings,
      offer,
      {
        log,
        onView: showView,
        onSurroundings: ({ backend, threads, battery, pressure }) =>
          showFigures({ 'runs on': `${backend}, ${threads} thread${threads === 1 ? '' : 's'}`, battery, pressure }),
      },
      stopping.signal,
    )
    summary.textContent = 'stopped'
  } catch (error) {
    summary.textContent = 'failed'
    problem.textContent = describeError(error)
    console.error(error)
  } finally {
    stopping = undefined
    form.inert = false
    startButton.disabled = false
    stopButton.hidden = true
  }
}

stopButton.addEventListener('click', () => stopping?.abort(new Error('stopped by the user')))
// The broker says that this device is gone if the page has no time to.
addEventListener('pagehide', () => stopping?.abort(new Error('the page was closed')))

try {
  const offer = await fetchOffer()
  const isStart = showSettings(form, offer, new URLSearchParams(location.search))
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void start(offer)
  })
  if (isStart) void start(offer)
} catch (error) {
  problem.textContent = `${describeError(error)}; reload the page when the controller is there`
}
