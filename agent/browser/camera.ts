import { ConfigError, describeError } from '@espalier/shared/errors'
import type { PictureStream } from '../source/source.ts'
import { toPicture } from './to-picture.ts'
import { untilAwake } from './wakefulness.ts'

/** What is asked for; cameras give what they can. */
const WANTED = { width: 640, height: 360 }
/** The longest side that is taken from a camera that gives more. */
const MAX_SIDE = 1280

/** @param path Of which way a camera looks: `user` or `environment`. @throws {ConfigError} If there is none that may be used. */
export async function openCamera(path: string): Promise<PictureStream> {
  // Absent where the page is not of a secure origin.
  const devices = navigator.mediaDevices as MediaDevices | undefined
  if (devices === undefined)
    throw new ConfigError('Cannot open camera: found an insecure origin, expected https or this machine itself')
  const facing = path === 'user' ? 'user' : 'environment'
  const video = { facingMode: facing, width: { ideal: WANTED.width }, height: { ideal: WANTED.height } }
  const media = await devices.getUserMedia({ video, audio: false }).catch((cause: unknown) => {
    throw new ConfigError(`Cannot open camera: ${describeError(cause)}`, { cause })
  })
  const element = document.createElement('video')
  element.muted = true
  element.playsInline = true
  element.srcObject = media
  await element.play()
  const shrink = Math.min(1, MAX_SIDE / Math.max(element.videoWidth, element.videoHeight))
  // A phone that is turned shows its picture squeezed: a slot has one size.
  const size = {
    width: Math.round(element.videoWidth * shrink),
    height: Math.round(element.videoHeight * shrink),
  }
  const [track] = media.getVideoTracks()
  return {
    ...size,
    async next() {
      await untilAwake()
      if (track?.readyState !== 'live') throw new ConfigError('Cannot read camera: it was taken away')
      return toPicture(element, size)
    },
    async close() {
      for (const each of media.getTracks()) each.stop()
      element.srcObject = null
    },
  }
}
