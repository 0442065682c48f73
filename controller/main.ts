import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { type Clock, systemClock } from '@espalier/shared/clock'
import { ConfigError, describeError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import { publicKeyText } from '@espalier/shared/signature/keys'
import { requireSignature } from '@espalier/shared/signature/manifest-signature'
import { signDocument } from '@espalier/shared/signature/signed-document'
import type { Logger } from 'pino'
import { createAlerts } from './alert/alerts.ts'
import { createSend, findTargetRefusal } from './alert/send-alert.ts'
import { buildApp } from './api/build-app.ts'
import { readTls } from './api/read-tls.ts'
import { CONTROLLER_USER, type EmbeddedBroker, startBroker } from './broker/embedded-broker.ts'
import { type MqttLink, openMqttLink } from './broker/mqtt-link.ts'
import { readPasswords } from './broker/passwords.ts'
import { openControllerKey } from './capsule/controller-key.ts'
import type { ControllerConfig } from './config.ts'
import { EventBus } from './events.ts'
import { type FamilyScan, openFamilies } from './families.ts'
import { Fleet } from './ingest/fleet.ts'
import { createIngest, type Ingest } from './ingest/ingest.ts'
import { Overview } from './overview/overview.ts'
import { recordSeries } from './overview/record-series.ts'
import { createPlanner } from './planner/planner.ts'
import { createRollouts } from './rollout/rollouts.ts'
import { openStore } from './store/open-store.ts'
import { createDecoder } from './uplink/decoder.ts'
import { Streams } from './uplink/streams.ts'

export interface RunningController {
  /** e.g. `http://127.0.0.1:8080` */
  readonly url: string
  /** Of the embedded broker; 0 without one. */
  readonly mqttPort: number
  /** Where messages of devices go; what this is given counts as if it had come over MQTT. */
  readonly ingest: Ingest
  close(): Promise<void>
}

/** Versions of families that are copied into their folder are found within this. */
const SCAN_INTERVAL_MS = 30_000
/** A device of which the birth is not known is asked for it this often at most. */
const REBIRTH_INTERVAL_MS = 10_000

/**
 * Start the fleet program: broker, ingest, planner, API.
 *
 * @throws {ConfigError} If an address is taken or a file of passwords is unreadable.
 * @throws {StoreError} If the database is corrupt or cannot be written.
 */
export async function startController(
  config: ControllerConfig,
  log: Logger,
  clock: Clock = systemClock,
): Promise<RunningController> {
  const closers: (() => unknown)[] = []
  const close = async () => {
    for (const closer of closers.reverse()) await closer()
  }
  try {
    return { ...(await start(config, log, clock, closers)), close }
  } catch (error) {
    await close()
    throw error
  }
}

async function start(config: ControllerConfig, log: Logger, clock: Clock, closers: (() => unknown)[]) {
  const passwords = config.devicePasswordsFile === undefined ? undefined : readPasswords(config.devicePasswordsFile)
  const check = config.familyKey === undefined ? undefined : requireSignature(config.familyKey)
  const families = await openFamilies(config.familiesDir, log, check)
  const store = openStore(join(config.dataDir, 'controller.sqlite'))
  closers.push(() => store.close())

  const key = openControllerKey(config.dataDir)
  log.info({ publicKey: publicKeyText(key) }, 'capsules are signed; devices may be given this as "controllerKey"')
  const fleet = Fleet.load(store)
  const events = new EventBus()
  const streams = new Streams(clock)
  let link: MqttLink | undefined
  const currentLink = (): MqttLink => link!
  const rollouts = createRollouts({
    store,
    fleet,
    families,
    events,
    clock,
    log: log.child({ part: 'rollouts' }),
    onOrders: (reason) => planner.request(reason),
  })
  closers.push(() => rollouts.close())
  const alerts = createAlerts({
    store,
    fleet,
    events,
    clock,
    log: log.child({ part: 'alerts' }),
    plan: () => planner.latest(),
    rollouts: () => rollouts.list(),
    send: createSend(config, clock),
  })
  closers.push(() => alerts.close())
  const onScan = ({ added, removed }: FamilyScan): void => {
    const digests = (list: FamilyScan['added']) => list.map(({ manifestDigest }) => manifestDigest)
    log.info({ added: digests(added), removed: digests(removed) }, 'versions of families')
    events.emit({ kind: 'families', data: { added: digests(added), removed: digests(removed) } })
    planner.request('versions of families came or went')
  }
  const scanner = setInterval(() => {
    families.scan().then(
      (scan) => {
        if (scan.added.length + scan.removed.length > 0) onScan(scan)
      },
      (error: unknown) => log.warn({ reason: describeError(error) }, 'folder of families not read'),
    )
  }, SCAN_INTERVAL_MS)
  closers.push(() => clearInterval(scanner))
  const planner = createPlanner({
    store,
    fleet,
    families,
    streams,
    events,
    clock,
    log: log.child({ part: 'planner' }),
    link: currentLink,
    intervalMs: config.planIntervalMs,
    capsuleS: config.capsuleS,
    signCapsule: (capsule) => signDocument(capsule, key),
    withFamilyOrders: (bodies) => rollouts.withFamilyOrders(bodies),
  })
  closers.push(() => planner.close())

  const overview = new Overview({ fleet, streams, events, clock, latestPlan: planner.latest })
  closers.push(() => overview.close())
  closers.push(recordSeries({ overview, store, latestPlan: planner.latest, clock, log }))

  const askedMs = new Map<DeviceId, number>()
  const askRebirth = (device: DeviceId): void => {
    const nowMs = clock.monotonicMs()
    if (nowMs - (askedMs.get(device) ?? Number.NEGATIVE_INFINITY) < REBIRTH_INTERVAL_MS) return
    askedMs.set(device, nowMs)
    currentLink()
      .sendCommand(device, { kind: 'rebirth' })
      .catch((error: unknown) => log.warn({ device, reason: describeError(error) }, 'rebirth not asked'))
  }
  const ingest = createIngest({
    store,
    fleet,
    families,
    events,
    clock,
    log: log.child({ part: 'ingest' }),
    onChange: planner.request,
    onBirth(device) {
      planner.republish(device)
      planner.request(`"${device}" was born`)
    },
    onUnknown: askRebirth,
    onTelemetry(device, after, before) {
      if (before === undefined || device.birth === undefined) return
      rollouts.observe(device, before, after)
      alerts.observe(device.id, before, after)
    },
  })

  const controllerPassword = randomBytes(24).toString('base64url')
  let broker: EmbeddedBroker | undefined
  if (config.brokerUrl === undefined) {
    broker = await startBroker({ host: config.mqttHost, port: config.mqttPort, controllerPassword, passwords })
    closers.push(() => broker!.close())
  }
  link = openMqttLink({
    url: config.brokerUrl ?? `mqtt://${addressOf(config.mqttHost)}:${broker!.port}`,
    ...(broker === undefined ? {} : { credentials: { username: CONTROLLER_USER, password: controllerPassword } }),
    clock,
    log: log.child({ part: 'mqtt' }),
    onMessage: ingest.receive,
    onConnected() {
      // The broker may have forgotten what it retained; devices that were here all the time say who they are.
      for (const { id } of fleet.list()) {
        planner.republish(id)
        askedMs.delete(id)
        askRebirth(id)
      }
      planner.request('connected to the broker')
    },
  })
  closers.push(() => link!.close())
  // Before the link goes: from then on nobody would hear what devices say.
  closers.push(() => broker?.mute())

  const decoder = createDecoder()
  closers.push(() => decoder.close())
  const app = await buildApp({
    host: config.host,
    tls: readTls(config.tlsCertFile, config.tlsKeyFile),
    agentPage: {
      directory: config.agentPageDir,
      acceptMqtt: broker?.accept,
      mqttUrl: config.brokerWebSocketUrl,
      isPasswordNeeded: passwords !== undefined,
    },
    passwords,
    store,
    streams,
    clock,
    fleet,
    families,
    planner,
    rollouts,
    alerts,
    findTargetRefusal: (target) => findTargetRefusal(target, config),
    familiesDir: config.familiesDir,
    onScan,
    ingest,
    overview,
    decoder,
    events,
    link: currentLink,
    log,
  })
  closers.push(() => app.close())
  const url = await app.listen({ host: config.host, port: config.port }).catch((cause: unknown) => {
    throw new ConfigError(`Cannot listen on "${config.host}:${config.port}": ${describeError(cause)}; set "port"`, {
      cause,
    })
  })
  log.info({ url, mqttPort: broker?.port }, 'controller runs')
  return { url, mqttPort: broker?.port ?? 0, ingest }
}

/** Where to reach a server on this machine that listens on `host`. */
function addressOf(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}
