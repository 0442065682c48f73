import { join } from 'node:path'
import { describeError, IntegrityError, MessageError, StoreError } from '@espalier/shared/errors'
import type { DeviceId } from '@espalier/shared/ids'
import { type Capsule, capsuleSchema } from '@espalier/shared/messages/capsule'
import { openSigned, type Signed, signedSchema } from '@espalier/shared/signature/signed-document'
import { z } from 'zod'
import { elapsedMs, isTrusted, type TimeMark, timeMarkSchema } from '../time/time-mark.ts'
import type { FileCalls } from '../twin/atomic-file.ts'
import { StateFile } from '../twin/state-file.ts'

const fileSchema = z.object({
  version: z.literal(1),
  signed: signedSchema,
  /** When there last was a controller that could have said otherwise; null: nobody knows. */
  heard: timeMarkSchema.nullable(),
})

/** A later mark is written down once that on disk is older than this share of the capsule's validity: flash wears. */
const REWRITE_SHARE = 0.25

interface Held {
  readonly capsule: Capsule
  readonly signed: Signed
  readonly heard: TimeMark | undefined
  /** As on disk. */
  readonly writtenHeard: TimeMark | undefined
}

export interface CapsuleKeeperOptions {
  readonly device: DeviceId
  readonly dataDir: string
  /** Public key of the controller as text; absent: the first that signs a capsule is trusted from then on. */
  readonly controllerKey: string | undefined
  readonly mark: () => TimeMark
  /** What is on disk cannot be used: the device then has no capsule. */
  readonly onDamage: (error: Error) => void
  readonly calls?: FileCalls
}

/** What became of a capsule that came in. `first`: its key is trusted from now on. */
export type Offered = 'first' | 'taken' | 'known'

/** Holds the last good capsule and the key that it must be signed with, on disk. */
export class CapsuleKeeper {
  readonly #options: CapsuleKeeperOptions
  readonly #path: string
  readonly #file: StateFile<z.infer<typeof fileSchema>>
  #held: Held | undefined

  constructor(options: CapsuleKeeperOptions) {
    this.#options = options
    this.#path = join(options.dataDir, 'capsule.json')
    this.#file = new StateFile(this.#path, 'capsule', fileSchema, options.calls)
    this.#held = this.#load()
  }

  get capsule(): Capsule | undefined {
    return this.#held?.capsule
  }

  /** Public key that capsules must be signed with; undefined before the first. */
  get trustedKey(): string | undefined {
    return this.#options.controllerKey ?? this.#held?.signed.key
  }

  /** Seconds since there was a controller that could have said otherwise; undefined if nobody can know. */
  get ageS(): number | undefined {
    const heard = this.#held?.heard
    const ms = heard && elapsedMs(heard, this.#options.mark())
    return ms === undefined ? undefined : ms / 1000
  }

  /**
   * Take a capsule in. One that cannot be trusted, is for another device or older than the one held leaves that in place.
   *
   * @param isRetained It waited at the broker: how long, only its own date and this machine's clock can say.
   * @throws {IntegrityError} If its signature is wrong, missing or another's, or it is older than the one held.
   * @throws {MessageError} If what was signed is no capsule.
   * @throws {StoreError} If it cannot be written down; the old one stays.
   */
  offer(message: unknown, { isRetained }: { isRetained: boolean }): Offered {
    const isFirst = this.trustedKey === undefined
    const signed = openSigned(message, 'capsule', this.trustedKey)
    const parsed = capsuleSchema.safeParse(signed.document)
    if (!parsed.success)
      throw new MessageError(`Cannot read capsule: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`)
    const capsule = parsed.data
    const { device } = this.#options
    if (capsule.device !== device)
      throw new IntegrityError(`Cannot use capsule: found device "${capsule.device}", expected "${device}"`)
    const held = this.#held
    const isOlder =
      held !== undefined &&
      (capsule.gen < held.capsule.gen || (capsule.gen === held.capsule.gen && capsule.issuedMs < held.capsule.issuedMs))
    if (isOlder)
      throw new IntegrityError(
        `Cannot use capsule: found generation ${capsule.gen} of ${capsule.issuedMs}, expected none before ${held.capsule.gen} of ${held.capsule.issuedMs}`,
      )
    const isSame = held?.capsule.gen === capsule.gen && held.capsule.issuedMs === capsule.issuedMs
    // Said again as it was: whoever did so may have kept it for long.
    if (isSame && (isRetained || held.heard !== undefined)) return 'known'
    const heard = this.#markOf(capsule, isRetained)
    this.#write(signed, heard)
    this.#held = { capsule, signed, heard, writtenHeard: heard }
    return isFirst ? 'first' : 'taken'
  }

  /**
   * The controller is there, and lets the capsule stand: it is as good as new.
   *
   * @throws {StoreError} If that should be written down and cannot be; it holds all the same, until the next start.
   */
  renew(): void {
    if (this.#held === undefined) return
    const { signed, capsule, writtenHeard } = this.#held
    const heard = this.#options.mark()
    const sinceMs = writtenHeard && elapsedMs(writtenHeard, heard)
    const mustWrite = sinceMs === undefined || sinceMs > REWRITE_SHARE * capsule.validS * 1000
    // Before the write: a disk that refuses is not asked again every second.
    this.#held = { ...this.#held, heard, writtenHeard: mustWrite ? heard : writtenHeard }
    if (mustWrite) this.#write(signed, heard)
  }

  /** When a capsule began to count. */
  #markOf({ issuedMs }: Capsule, isRetained: boolean): TimeMark | undefined {
    const now = this.#options.mark()
    if (!isRetained) return now
    const agoMs = now.wallMs - issuedMs
    if (!isTrusted(now.clk) || agoMs < 0) return undefined
    // Before this machine started, only its wall clock can say how long ago that was.
    return agoMs > now.uptimeMs
      ? { ...now, machineBoot: 'before', uptimeMs: 0, wallMs: issuedMs }
      : { ...now, uptimeMs: now.uptimeMs - agoMs, wallMs: issuedMs }
  }

  #write(signed: Signed, heard: TimeMark | undefined): void {
    this.#file.save({ version: 1, signed, heard: heard ?? null })
  }

  #load(): Held | undefined {
    const { onDamage, controllerKey } = this.#options
    const found = this.#file.load(onDamage)
    if (found === undefined) return undefined
    const heard = found.heard ?? undefined
    try {
      // Checked again: a disk may alter it, and a configured key may have changed.
      const { document } = openSigned(found.signed, this.#path, controllerKey)
      return { capsule: capsuleSchema.parse(document), signed: found.signed, heard, writtenHeard: heard }
    } catch (cause) {
      onDamage(
        new StoreError(`Cannot read capsule "${this.#path}": ${describeError(cause)}`, { cause, retryable: false }),
      )
      return undefined
    }
  }
}
