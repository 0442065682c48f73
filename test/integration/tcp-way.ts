import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

/** A way to a port of this machine that a test closes, opens, and makes silent. */
export class TcpWay {
  readonly port: number
  /** Whether who comes is let through. */
  isOpen = true
  readonly #sockets: ReadonlySet<Socket>

  private constructor(port: number, sockets: ReadonlySet<Socket>) {
    this.port = port
    this.#sockets = sockets
  }

  static async open(toPort: number): Promise<TcpWay> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      if (!way.isOpen) return void socket.destroy()
      const there = connect(toPort, '127.0.0.1')
      socket.pipe(there).pipe(socket)
      for (const [end, other] of [
        [socket, there],
        [there, socket],
      ] as const) {
        sockets.add(end)
        // What broke is told by the close that follows.
        end
          .on('error', () => undefined)
          .on('close', () => {
            sockets.delete(end)
            other.destroy()
          })
      }
    })
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      server.close()
    })
    const way = new TcpWay((server.address() as AddressInfo).port, sockets)
    return way
  }

  /** Who is connected stays so, and hears nothing any more. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe()
  }
}
