import { join } from 'node:path'
import { StoreError } from '@espalier/shared/errors'
import { attempt, findText, isAbsent, listFolder, readNumberOften, type SystemFiles } from './system-files.ts'

const ROOT = 'sys/class/hwmon'
const LABELS = ['in1_label', 'in2_label', 'in3_label']

interface Place {
  readonly name: string
  readonly path: string
  /** Name and labels: what stays when the number in the path changes. */
  readonly identity: string
}

function listPlaces(files: SystemFiles, root: string): Place[] {
  const folder = join(root, ROOT)
  return listFolder(files, folder).flatMap((entry) => {
    const path = join(folder, entry)
    const name = findText(files, join(path, 'name'))
    if (name === undefined) return []
    const labels = LABELS.map((label) => attempt(() => findText(files, join(path, label))) ?? '')
    return [{ name, path, identity: [name, ...labels].join('|') }]
  })
}

/** A chip of /sys/class/hwmon. Its number may change when drivers come and go: it is then found again by its name. */
export class HwmonChip {
  readonly name: string
  readonly #files: SystemFiles
  readonly #root: string
  readonly #identity: string
  #path: string
  readonly #paths = new Map<string, string>()

  constructor(files: SystemFiles, root: string, { name, path, identity }: Place) {
    this.name = name
    this.#files = files
    this.#root = root
    this.#path = path
    this.#identity = identity
  }

  get path(): string {
    return this.#path
  }

  /** @returns Undefined if the chip has no such file. @throws {StoreError} If the file is there and unreadable. */
  find(file: string): string | undefined {
    return findText(this.#files, join(this.#path, file))
  }

  /** @throws {StoreError} If the file, or the chip, is not there or cannot be read. */
  readNumber(file: string): number {
    try {
      return readNumberOften(this.#files, this.#pathOf(file))
    } catch (error) {
      if (!isAbsent(error)) throw error
      this.#findAgain()
      return readNumberOften(this.#files, this.#pathOf(file))
    }
  }

  /** Joined once: this happens a hundred times a second. */
  #pathOf(file: string): string {
    let path = this.#paths.get(file)
    if (path === undefined) {
      path = join(this.#path, file)
      this.#paths.set(file, path)
    }
    return path
  }

  #findAgain(): void {
    const places = listPlaces(this.#files, this.#root).filter(({ identity }) => identity === this.#identity)
    // Of two that look the same, nobody knows which one this was.
    if (places.length !== 1)
      throw new StoreError(
        `Cannot find sensor "${this.name}" again: found ${places.length} chips of that name and labels, expected one`,
        { retryable: true },
      )
    this.#path = places[0]!.path
    this.#paths.clear()
  }
}

/** The chips with one of these names, in the order of their numbers. */
export function listHwmon(files: SystemFiles, root: string, names: readonly string[]): HwmonChip[] {
  return listPlaces(files, root)
    .filter(({ name }) => names.includes(name))
    .map((place) => new HwmonChip(files, root, place))
}
