import { createServer } from 'node:net'
import { MqttLink } from '@espalier/agent/link/mqtt-link'
import { pino } from 'pino'
import { expect, test } from 'vitest'

/** Fractions of the wait, as each device draws its own. */
const DRAWN = [0.9, 0.1, 0.5, 0.3, 0.7]

test('devices that lost the same broker come back one after the other, as each of them drew', async () => {
  const server = createServer((socket) => socket.destroy())
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  const { port } = server.address() as { port: number }
  const stopping = new AbortController()
  const cameBack: number[] = []
  const links = DRAWN.map((drawn, device) => {
    let attempts = 0
    const link = new MqttLink({
      url: `mqtt://127.0.0.1:${port}`,
      version: 4,
      device: `cam-${device}`,
      password: undefined,
      subscriptions: [],
      will: () => {
        if (++attempts === 2) cameBack.push(drawn)
        if (cameBack.length === DRAWN.length) stopping.abort()
        return { topic: 'x', payload: new Uint8Array() }
      },
      onConnected: async () => undefined,
      onMessage: () => undefined,
      random: () => drawn,
      log: pino({ level: 'silent' }),
    })
    return link.run(stopping.signal, async () => undefined)
  })
  await Promise.all(links)
  server.close()
  expect(cameBack).toEqual([...DRAWN].sort((a, b) => a - b))
})
