import type { FrameKind } from './container.ts'

/** Bits a frame costs at an alpha, as measured on photographs: falls as alpha rises. */
export interface RateCurvePoint {
  readonly alpha255: number
  readonly bits: number
}

export interface RateControlSettings {
  readonly targetBps: number
  /** Frames a second that are offered. */
  readonly frameRate: number
  /** Of one frame of this size, at least two points, in order of rising alpha. */
  readonly curve: readonly RateCurvePoint[]
  /** No window of one second carries more than this many times the target. */
  readonly burst: number
}

interface SentFrame {
  readonly atS: number
  readonly bits: number
}

/** What is known after some frames. Made anew by every step: nothing changes in place. */
export interface RateControl {
  readonly settings: RateControlSettings
  /** Log of what frames of a kind cost here against the curve. */
  readonly content: Readonly<Record<FrameKind, number>>
  /** Frames sent within the last second. */
  readonly window: readonly SentFrame[]
  /** Bits that the target allowed and that were not sent, within a few frames' worth either way. */
  readonly creditBits: number
  readonly lastS: number | undefined
  readonly lastAlpha255: number | undefined
  /** Of the frame that was sent last. */
  readonly lastKind: FrameKind | undefined
}

export type RateDecision =
  | { readonly decision: 'encode'; readonly alpha255: number /** More is not to be sent. */; readonly capBits: number }
  /** Nothing fits: the receiver keeps its last picture. */
  | { readonly decision: 'skip' }

const WINDOW_S = 1
/** An inter frame costs about a third of a key frame until one was seen. */
const FIRST_INTER_CONTENT = -1
/** Share of an error that the content filter takes over; more where the scene has plainly changed. */
const GAIN = 0.35
const JUMP_GAIN = 0.9
const JUMP = 0.35
/** Credit is spent over so many frames, and never more than so many are saved up or owed. */
const SPEND_OVER_FRAMES = 8
const MAX_CREDIT_FRAMES = 25
/** A key frame among others may take this many frames' worth at once; those that follow make it up. */
const KEY_FRAME_SHARE = 4
/** Alpha stays while it would move less than this: each change costs bits in the frame that follows another. */
const STAY_WITHIN = 4
/** A frame is aimed below the cap by this share, because it rarely costs what was foretold. */
const CAP_MARGIN = 0.12
const HIGHEST_ALPHA = 255

/** Bits of a frame at an alpha by the curve: piecewise linear in the logarithm. */
export function bitsAt(curve: readonly RateCurvePoint[], alpha255: number): number {
  const at = curve.findIndex((point) => point.alpha255 >= alpha255)
  if (at === 0) return curve[0]!.bits
  if (at === -1) return curve.at(-1)!.bits
  const [low, high] = [curve[at - 1]!, curve[at]!]
  const share = (alpha255 - low.alpha255) / (high.alpha255 - low.alpha255)
  return Math.exp(Math.log(low.bits) + share * (Math.log(high.bits) - Math.log(low.bits)))
}

/** The smallest alpha whose frame costs no more than `bits` by the curve; 255 where none does. */
export function alphaFor(curve: readonly RateCurvePoint[], bits: number): number {
  let [low, high] = [0, HIGHEST_ALPHA]
  if (bitsAt(curve, low) <= bits) return low
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (bitsAt(curve, middle) <= bits) high = middle
    else low = middle
  }
  return high
}

/** @throws {RangeError} If a setting cannot be. */
export function createRateControl(settings: RateControlSettings): RateControl {
  const { targetBps, frameRate, curve, burst } = settings
  const falls = curve.every(
    (point, i) => i === 0 || (point.alpha255 > curve[i - 1]!.alpha255 && point.bits < curve[i - 1]!.bits),
  )
  if (!(targetBps > 0 && frameRate > 0 && burst >= 1) || curve.length < 2 || !falls)
    throw new RangeError(
      `Cannot control rate: found ${targetBps} bit/s at ${frameRate} frames/s, burst ${burst} and ${curve.length} points, expected positive ones, burst from 1 and a falling curve`,
    )
  return {
    settings,
    content: { key: 0, inter: FIRST_INTER_CONTENT },
    window: [],
    creditBits: 0,
    lastS: undefined,
    lastAlpha255: undefined,
    lastKind: undefined,
  }
}

const recent = (window: readonly SentFrame[], atS: number): readonly SentFrame[] =>
  window.filter((frame) => frame.atS > atS - WINDOW_S)

/**
 * Choose for the next frame. The mean follows from credit that is paid back over a few frames, the cap from what the
 * last second carried.
 *
 * @param about.atS Monotonic seconds; never falls.
 */
export function chooseAlpha(control: RateControl, about: { frameKind: FrameKind; atS: number }): RateDecision {
  const { targetBps, frameRate, curve, burst } = control.settings
  const { frameKind, atS } = about
  const sent = recent(control.window, atS).reduce((sum, { bits }) => sum + bits, 0)
  const capBits = burst * targetBps * WINDOW_S - sent
  const each = targetBps / frameRate
  // Where every frame is a key frame, none is an exception that the others could pay for.
  const share = frameKind === 'key' && control.lastKind !== 'key' ? KEY_FRAME_SHARE : 1
  const wanted = share * each + control.creditBits / SPEND_OVER_FRAMES
  const aim = Math.max(0.25 * each, Math.min(wanted, capBits * (1 - CAP_MARGIN)))
  const factor = Math.exp(control.content[frameKind])
  const alpha255 = alphaFor(curve, aim / factor)
  if (bitsAt(curve, alpha255) * factor > capBits) return { decision: 'skip' }
  const { lastAlpha255 } = control
  const stays =
    frameKind === 'inter' &&
    lastAlpha255 !== undefined &&
    Math.abs(lastAlpha255 - alpha255) < STAY_WITHIN &&
    bitsAt(curve, lastAlpha255) * factor <= capBits * (1 - CAP_MARGIN)
  return { decision: 'encode', alpha255: stays ? lastAlpha255 : alpha255, capBits }
}

/** Learn from a frame that was encoded, whether it is sent or not. */
export function learn(
  control: RateControl,
  made: { frameKind: FrameKind; alpha255: number; bits: number },
): RateControl {
  const error = Math.log(made.bits / bitsAt(control.settings.curve, made.alpha255)) - control.content[made.frameKind]
  const gain = Math.abs(error) > JUMP ? JUMP_GAIN : GAIN
  const content = { ...control.content, [made.frameKind]: control.content[made.frameKind] + gain * error }
  return { ...control, content }
}

/** Account for the time until now, and for a frame that was sent: undefined where none was. */
export function account(
  control: RateControl,
  atS: number,
  sent: { frameKind: FrameKind; alpha255: number; bits: number } | undefined,
): RateControl {
  const { targetBps, frameRate } = control.settings
  const each = targetBps / frameRate
  const elapsedS = control.lastS === undefined ? 1 / frameRate : atS - control.lastS
  const limit = MAX_CREDIT_FRAMES * each
  const credit = control.creditBits + targetBps * elapsedS - (sent?.bits ?? 0)
  const window = [...recent(control.window, atS), ...(sent === undefined ? [] : [{ atS, bits: sent.bits }])]
  return {
    ...control,
    window,
    creditBits: Math.max(-limit, Math.min(limit, credit)),
    lastS: atS,
    lastAlpha255: sent?.alpha255 ?? control.lastAlpha255,
    lastKind: sent?.frameKind ?? control.lastKind,
  }
}

/** After so many attempts a frame that is too large is left out. */
const MAX_ATTEMPTS = 3

/**
 * Take one frame through the control: encode at the chosen alpha, again at a higher one while it is over the cap.
 *
 * @param encode Makes a frame; its kind may differ from the one expected (a scene changed).
 * @returns The control after it, and what to send: undefined where nothing fits.
 */
export async function controlFrame<Frame extends { readonly frameKind: FrameKind; readonly bits: number }>(
  control: RateControl,
  about: { frameKind: FrameKind; atS: number },
  encode: (alpha255: number) => Promise<Frame>,
): Promise<{ control: RateControl; sent: (Frame & { readonly alpha255: number }) | undefined; attempts: number }> {
  let frameKind = about.frameKind
  let now = control
  for (let attempt = 1; attempt <= MAX_ATTEMPTS; attempt++) {
    const choice = chooseAlpha(now, { frameKind, atS: about.atS })
    if (choice.decision === 'skip')
      return { control: account(now, about.atS, undefined), sent: undefined, attempts: attempt - 1 }
    const frame = await encode(choice.alpha255)
    now = learn(now, { ...frame, alpha255: choice.alpha255 })
    frameKind = frame.frameKind
    if (frame.bits <= choice.capBits) {
      const sent = { ...frame, alpha255: choice.alpha255 }
      return { control: account(now, about.atS, sent), sent, attempts: attempt }
    }
  }
  return { control: account(now, about.atS, undefined), sent: undefined, attempts: MAX_ATTEMPTS }
}
