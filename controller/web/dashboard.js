// The page reads the API once a second and whenever the controller says that something changed.
const REFRESH_MS = 1000
/** Decoding a picture takes the controller part of a second: it may spend a tenth of a core on being watched. */
const PICTURE_SHARE = 0.1
const PICTURE_MS = 3000
const HISTORY = 120

const byId = (id) => document.getElementById(id)
const history = new Map()
const shown = new Map()

async function call(path, init) {
  const headers = init?.body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(`/api/v1/${path}`, { ...init, headers })
  const text = await response.text()
  const json = text === '' ? undefined : JSON.parse(text)
  if (!response.ok) throw new Error(json?.error?.message ?? `${response.status}`)
  return json
}

const digits = (value, count = 3) => String(Number(value.toPrecision(count)))
function formatRate(bps) {
  if (bps === undefined) return '–'
  if (bps >= 1e6) return `${digits(bps / 1e6)} Mbit/s`
  return bps >= 1e3 ? `${digits(bps / 1e3)} kbit/s` : `${Math.round(bps)} bit/s`
}
const formatPower = (watts) =>
  watts === undefined ? '–' : watts < 1 ? `${digits(watts * 1e3)} mW` : `${digits(watts)} W`

function setText(root, name, text) {
  const element = root.querySelector(`[data-${name}]`)
  if (element.textContent !== text) element.textContent = text
}

function pairs(entries) {
  return entries.map(([term, text]) => {
    const group = document.createElement('div')
    const [dt, dd] = [document.createElement('dt'), document.createElement('dd')]
    dt.textContent = term
    dd.textContent = text
    group.append(dt, dd)
    return group
  })
}

function drawSpark(svg, values, limit, name) {
  const top = 1.15 * Math.max(1, limit ?? 0, ...values)
  const x = (i) => 240 - (values.length - 1 - i) * (240 / (HISTORY - 1))
  const y = (value) => 46 - (44 * value) / top
  const line = values.map((value, i) => `${i === 0 ? 'M' : 'L'}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join('')
  svg.querySelector('.line').setAttribute('d', line)
  svg.querySelector('.area').setAttribute('d', line === '' ? '' : `${line}L240 48L${x(0).toFixed(1)} 48Z`)
  svg.querySelector('.limit').setAttribute('d', limit === undefined ? '' : `M0 ${y(limit).toFixed(1)}H240`)
  const against = limit === undefined ? 'no lease' : `lease ${formatRate(limit)}`
  svg.querySelector('title').textContent =
    `Rate of ${name} over two minutes: now ${formatRate(values.at(-1))}, ${against}`
}

function showFrame(card, device, slot) {
  const sequence = slot.uplink?.sequence
  const image = card.querySelector('img')
  const started = performance.now()
  if (sequence === undefined || card.loading || card.sequence === sequence || started < (card.nextPictureMs ?? 0))
    return
  card.loading = true
  const finish = () => {
    const now = performance.now()
    card.loading = false
    card.nextPictureMs = now + Math.max(PICTURE_MS, (now - started) * (1 / PICTURE_SHARE - 1))
  }
  const next = new Image()
  next.onload = () => {
    finish()
    card.sequence = sequence
    image.src = next.src
    image.alt = `Last decoded frame of ${device.id}/${slot.slot}`
    image.hidden = false
    card.querySelector('.picture span').hidden = true
  }
  next.onerror = finish
  next.src = `/api/v1/devices/${device.id}/slots/${slot.slot}/frame.png?sequence=${sequence}`
}

/** Decibels of a codec; of a classifier, how often it says the same as its family's first variant. */
function formatQuality({ psnrDb, agreementPct }) {
  if (psnrDb !== undefined) return `${psnrDb.toFixed(1)} dB`
  return agreementPct === undefined ? '–' : `${agreementPct.toFixed(0)} % agree`
}

function showSlot(device, slot, why) {
  const key = `${device.id}/${slot.slot}`
  const card = shown.get(key) ?? byId('slot-card').content.cloneNode(true).firstElementChild
  if (!shown.has(key)) {
    shown.set(key, card)
    byId('devices').append(card)
  }
  const rates = [...(history.get(key) ?? []), slot.bitsPerSecond ?? 0].slice(-HISTORY)
  history.set(key, rates)
  drawSpark(card.querySelector('svg'), rates, slot.leaseBps, key)
  setText(card, 'name', key)
  setText(card, 'state', device.state === 'ready' ? (slot.phase ?? 'ready') : device.state)
  const isGood = device.state === 'ready' && (slot.phase ?? 'applied') === 'applied'
  const isBad = ['lost', 'offline', 'degraded'].includes(device.state) || ['failed', 'refused'].includes(slot.phase)
  const state = card.querySelector('[data-state]')
  state.className = `pill ${isGood ? 'good' : isBad ? 'bad' : ''}`
  setText(card, 'configuration', slot.configurationId ?? 'not running')
  setText(card, 'rate', formatRate(slot.bitsPerSecond))
  const joules = slot.joulesPerFrame
  setText(
    card,
    'energy',
    joules === undefined
      ? '–'
      : `${digits(joules.value)} J (${digits(joules.interval[0])} to ${digits(joules.interval[1])}), ${joules.source}, ${joules.scope}`,
  )
  const latency = slot.latencyMs
  setText(card, 'latency', latency === undefined ? '–' : `${latency.p50.toFixed(0)} / ${latency.p95.toFixed(0)} ms`)
  setText(card, 'psnr', formatQuality(slot))
  setText(card, 'power', formatPower(slot.powerW))
  setText(card, 'frames', `${slot.frames} (${slot.dropped})`)
  setText(
    card,
    'why',
    why === undefined ? '' : `Held by ${why.binding === 'none' ? 'nothing' : why.binding}: ${why.price}.`,
  )
  showFrame(card, device, slot)
}

function budgetCard(key, unit) {
  const known = shown.get(key)
  if (known !== undefined) return known
  const card = byId('budget-card').content.cloneNode(true).firstElementChild
  shown.set(key, card)
  byId('budgets').append(card)
  card.querySelector('h3').textContent = key === 'fleet' ? 'Power of the fleet' : `Uplink of ${key.slice(5)}`
  setText(card, 'label', key === 'fleet' ? 'Budget, W' : 'Budget, kbit/s')
  const input = card.querySelector('input')
  const change = async (init) => {
    const error = card.querySelector('.error')
    try {
      await call(`budgets/${key}`, init)
      error.textContent = ''
      await refresh()
    } catch (failure) {
      error.textContent = failure.message
    }
  }
  card.addEventListener('submit', (event) => {
    event.preventDefault()
    const body = JSON.stringify({ [unit]: unit === 'rateBps' ? Number(input.value) * 1000 : Number(input.value) })
    if (input.value !== '') void change({ method: 'PUT', body })
  })
  card.querySelector('[data-remove]').addEventListener('click', () => {
    input.value = ''
    void change({ method: 'DELETE' })
  })
  return card
}

function showBudget(key, used, total, price, format) {
  const card = budgetCard(key, key === 'fleet' ? 'powerW' : 'rateBps')
  setText(card, 'used', format(used))
  setText(card, 'of', total === undefined ? 'no budget' : `of ${format(total)}`)
  setText(card, 'price', total === undefined ? '' : price)
  card.querySelector('.bar span').style.width = total > 0 ? `${Math.min(100, (100 * used) / total)}%` : '0'
  const input = card.querySelector('input')
  if (document.activeElement !== input && total !== undefined) input.value = key === 'fleet' ? total : total / 1000
}

function showBudgets(devices, budgets, plan) {
  const totals = new Map(budgets.map((budget) => [budget.key, budget.rateBps ?? budget.powerW]))
  const sites = new Set(devices.map(({ site }) => site).filter((site) => site !== undefined))
  for (const { key } of budgets) if (key !== 'fleet') sites.add(key.slice(5))
  const sum = (items, field) => items.reduce((total, item) => total + (item[field] ?? 0), 0)
  for (const site of [...sites].sort()) {
    const members = devices.filter((device) => device.site === site)
    const lambda = plan?.sites.find((row) => row.site === site)?.lambda ?? 0
    const price = lambda > 0 ? `1 kbit/s more is worth ${digits(lambda * 1000, 2)} utility` : 'not scarce'
    showBudget(`site:${site}`, sum(members, 'bitsPerSecond'), totals.get(`site:${site}`), price, formatRate)
  }
  const mu = plan?.power?.mu ?? 0
  const price = mu > 0 ? `1 W more is worth ${digits(mu, 2)} utility` : 'not scarce'
  showBudget('fleet', sum(devices, 'powerW'), totals.get('fleet'), price, formatPower)
}

function showPlan(plan) {
  const rows = [
    ['Utility', plan.value.toFixed(3)],
    ['Bound', plan.bound.toFixed(3)],
    ['Gap to the bound', `${(100 * plan.gap).toFixed(2)} %`],
    ['Slots', String(plan.slots.length)],
  ]
  byId('plan').replaceChildren(...pairs(rows))
  const alarms = plan.alarms.map(({ message }) => {
    const item = document.createElement('li')
    item.textContent = message
    return item
  })
  byId('alarms').replaceChildren(...alarms)
}

function showHealth(text, kind) {
  byId('health').textContent = text
  byId('health').className = `pill ${kind}`
}

let refreshing = false
async function refresh() {
  if (refreshing) return
  refreshing = true
  try {
    const [devices, { budgets }, plan] = await Promise.all([
      call('devices'),
      call('budgets'),
      call('plan').catch(() => undefined),
    ])
    byId('empty').hidden = devices.length > 0
    if (plan !== undefined) showPlan(plan)
    showBudgets(devices, budgets, plan)
    for (const device of devices)
      for (const slot of device.slots) {
        const planned = plan?.slots.find((s) => s.device === device.id && s.slot === slot.slot)
        showSlot(device, slot, planned?.why)
      }
    showHealth('live', 'good')
  } catch (error) {
    showHealth(`controller does not answer: ${error.message}`, 'bad')
  } finally {
    refreshing = false
  }
}

const events = new EventSource('/api/v1/events')
for (const kind of ['plan', 'budget', 'alarm']) events.addEventListener(kind, () => void refresh())
setInterval(() => void refresh(), REFRESH_MS)
void refresh()
