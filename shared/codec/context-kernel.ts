import { IntegrityError } from '../errors.ts'
import { CONTEXT_KERNEL_BASE64 } from './context-kernel-binary.ts'

/** The functions of kernel/context.ts. All arguments are whole numbers; addresses are in bytes. */
export interface KernelFunctions {
  heapBase(): number
  fill(plane: number, count: number, value: number): void
  addList(plane: number, places: number, levels: number, count: number, weight: number): void
  addPrediction(
    mean: number,
    scale: number,
    height: number,
    width: number,
    stride: number,
    symbols: number,
    predicted: number,
    levels: number,
    maxMagnitude: number,
    weights: number,
    bias: number,
  ): void
  addEnergy(raw: number, maps: number, places: number, levels: number, count: number, weights: number): void
  computeFeatures(
    raw: number,
    features: number,
    maps: number,
    height: number,
    width: number,
    stride: number,
    spread: number,
    hidden: number,
    bias: number,
  ): void
  addReads(scale: number, features: number, count: number, reads: number, first: number, end: number): void
  configure(...values: number[]): void
  setIntervalCount(count: number): void
  encodeChannel(
    symbols: number,
    expected: number,
    weights: number,
    places: number,
    found: number,
    intervals: number,
    room: number,
  ): number
  setDecoder(position: number, limit: number, state: number): void
  decodeChannel(
    symbols: number,
    expected: number,
    weights: number,
    places: number,
    found: number,
    wantBits: number,
  ): number
  readonly intervalCount: { readonly value: number }
  readonly position: { readonly value: number }
  readonly state: { readonly value: number }
  readonly channelBits: { readonly value: number }
}

interface Memory {
  readonly buffer: ArrayBuffer
  grow(pages: number): number
}
/** What is used of WebAssembly: its types come with a browser's, which Node code does without. */
const { Memory, instantiate } = (
  globalThis as unknown as {
    WebAssembly: {
      Memory: new (size: { initial: number; maximum: number }) => Memory
      instantiate(binary: Uint8Array, imports: object): Promise<{ instance: { exports: unknown } }>
    }
  }
).WebAssembly

const PAGE_BYTES = 65536
/** Vectors are loaded fastest from here; any address works. */
const ALIGNMENT = 16
/** WebAssembly's own limit is 65,536 pages; a picture that needs more than a gigabyte is refused. */
const MAX_PAGES = 16384

/** The compiled kernel and its memory, handed out from the bottom and freed from the top. */
export class ContextKernel {
  readonly functions: KernelFunctions
  readonly #memory: Memory
  #top: number

  private constructor(memory: Memory, functions: KernelFunctions) {
    this.#memory = memory
    this.functions = functions
    this.#top = Math.ceil(functions.heapBase() / ALIGNMENT) * ALIGNMENT
  }

  static async open(): Promise<ContextKernel> {
    const binary = Uint8Array.from(atob(CONTEXT_KERNEL_BASE64), (character) => character.charCodeAt(0))
    const memory = new Memory({ initial: 16, maximum: MAX_PAGES })
    const abort = (): never => {
      throw new IntegrityError('Cannot run the context kernel: it aborted')
    }
    const { instance } = await instantiate(binary, { env: { memory, abort } })
    return new ContextKernel(memory, instance.exports as KernelFunctions)
  }

  /** Everything reserved from here on is given back by `release(mark)`. */
  mark(): number {
    return this.#top
  }

  release(mark: number): void {
    this.#top = mark
  }

  /** @returns The address of as many bytes, not cleared. Views made before may be of memory that has moved. */
  reserve(bytes: number): number {
    const address = this.#top
    this.#top = Math.ceil((address + bytes) / ALIGNMENT) * ALIGNMENT
    const missing = Math.ceil(this.#top / PAGE_BYTES) - this.#memory.buffer.byteLength / PAGE_BYTES
    if (missing > 0) {
      if (this.#top > MAX_PAGES * PAGE_BYTES)
        throw new RangeError(
          `Cannot code frame: it needs ${this.#top} bytes, expected at most ${MAX_PAGES * PAGE_BYTES}`,
        )
      this.#memory.grow(missing)
    }
    return address
  }

  /** Reserve and copy in. */
  store(values: Int32Array | Uint32Array | Int16Array | Uint8Array): number {
    const address = this.reserve(values.byteLength)
    this.bytes(address, values.byteLength).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
    return address
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.#memory.buffer, address, length)
  }

  int16(address: number, length: number): Int16Array {
    return new Int16Array(this.#memory.buffer, address, length)
  }

  uint32(address: number, length: number): Uint32Array {
    return new Uint32Array(this.#memory.buffer, address, length)
  }
}
