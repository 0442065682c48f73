import { readFile } from 'node:fs/promises'
import { createServer, request as forward } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { extname, join, resolve, sep } from 'node:path'

const CONTENT_TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
}

export interface Served {
  readonly origin: string
  close(): Promise<void>
}

/**
 * Serve a built page, isolated so that it may share memory, at the same origin as a controller: everything under `/api`
 * is passed on, WebSockets too.
 */
export async function serveBeside(controllerUrl: string, folder: string): Promise<Served> {
  const { hostname, port } = new URL(controllerUrl)
  const sockets = new Set<Socket>()
  const server = createServer((request, response) => {
    if (request.url!.startsWith('/api/')) {
      const { url: path, method = 'GET', headers } = request
      const passed = forward({ hostname, port, path: path!, method, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(response)
      })
      passed.on('error', () => response.destroy())
      request.pipe(passed)
      return
    }
    const { pathname } = new URL(request.url!, 'http://localhost')
    const file = resolve(join(folder, pathname === '/' ? 'index.html' : pathname))
    const reading = file.startsWith(folder + sep) ? readFile(file) : Promise.reject(new Error('outside'))
    reading.then(
      (body) =>
        response
          .writeHead(200, {
            'content-type': CONTENT_TYPES[extname(file)] ?? 'application/octet-stream',
            'cross-origin-opener-policy': 'same-origin',
            'cross-origin-embedder-policy': 'require-corp',
          })
          .end(body),
      () => response.writeHead(404).end(),
    )
  })
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (request, socket, head) => {
    const upstream = connect(Number(port), hostname, () => {
      const headers = Array.from({ length: request.rawHeaders.length / 2 }, (_, i) =>
        request.rawHeaders.slice(2 * i, 2 * i + 2).join(': '),
      )
      upstream.write(`${[`GET ${request.url} HTTP/1.1`, ...headers].join('\r\n')}\r\n\r\n`)
      upstream.write(head)
      upstream.pipe(socket).pipe(upstream)
    })
    upstream.on('error', () => socket.destroy())
    socket.on('error', () => upstream.destroy())
  })
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((closed) => server.close(closed))
    },
  }
}
