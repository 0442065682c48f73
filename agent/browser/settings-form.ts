import type { AgentOffer } from './agent-offer.ts'
import type { PageSettings } from './start-agent.ts'

const KEPT = 'espalier-agent-settings'
const DEFAULTS = { site: 'local', source: 'camera-environment', frameRate: '2', backend: 'auto' }

/** What the user chose before; passwords are the browser's to keep. */
function readKept(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? '{}') as Record<string, string>
  } catch {
    return {}
  }
}

const randomName = (): string =>
  `browser-${Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, '0')).join('')}`

/**
 * Fill the form: from the page's address (`?device=kiosk-1&site=shop&source=clip&start=1`), else from the last time, else with
 * defaults.
 *
 * @returns Whether the address says to start at once.
 */
export function showSettings(form: HTMLFormElement, offer: AgentOffer, address: URLSearchParams): boolean {
  const choice = form.elements.namedItem('manifestDigest') as HTMLSelectElement
  for (const { family, version, task, manifestDigest } of offer.families)
    choice.add(new Option(`${family} ${version} (${task})`, manifestDigest))
  document.querySelector<HTMLElement>('#password-row')!.hidden = !offer.isPasswordNeeded
  const codec = offer.families.find(({ task }) => task === 'image-codec')
  const known: Record<string, string> = {
    ...DEFAULTS,
    device: randomName(),
    ...(codec === undefined ? {} : { manifestDigest: codec.manifestDigest }),
    ...readKept(),
    ...Object.fromEntries(address),
  }
  // An address is seen by others.
  delete known.password
  for (const [name, value] of Object.entries(known)) {
    const field = form.elements.namedItem(name)
    const isOption =
      !(field instanceof HTMLSelectElement) || [...field.options].some((option) => option.value === value)
    // A family that is gone since is no choice.
    if ((field instanceof HTMLInputElement || field instanceof HTMLSelectElement) && isOption) field.value = value
  }
  return address.get('start') === '1'
}

/** @param form Valid. */
export function readSettings(form: HTMLFormElement): PageSettings {
  const fields = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value)]))
  const { password = '', ...kept } = fields
  localStorage.setItem(KEPT, JSON.stringify(kept))
  return { ...(fields as unknown as PageSettings), password, frameRate: Number(fields.frameRate) }
}
