/** A node that cannot listen on one of its addresses holds none of the others. */
import { createServer, type Server } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { ListenError } from '../../src/app.ts'
import { startApp } from '../support/app.ts'
import { connectClient } from '../support/client.ts'

const listening = (server: Server, port = 0): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })

const other = createServer()
let taken: number
/** Free a moment ago. */
let free: [number, number]
beforeEach(async () => {
  taken = await listening(other)
  const [one, two] = [createServer(), createServer()]
  free = [await listening(one), await listening(two)]
  one.close()
  two.close()
})
afterEach(() => {
  other.close()
})

test.each(['SPILLWAY_LISTEN', 'SPILLWAY_ADMIN_LISTEN'] as const)(
  '%s has an address that is taken: the error names the setting, and what was bound before is closed',
  async (setting) => {
    const [mail, admin] = free
    const addresses = {
      SPILLWAY_LISTEN: `127.0.0.1:${mail}${setting === 'SPILLWAY_LISTEN' ? `,127.0.0.1:${taken}` : ''}`,
      SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${setting === 'SPILLWAY_ADMIN_LISTEN' ? taken : admin}`,
    }
    const error = await startApp('127.0.0.1:1', addresses).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    expect(error).toBeInstanceOf(ListenError)
    expect(error).toMatchObject({ setting, code: 'EADDRINUSE' })
    for (const port of free) await expect(connectClient(port)).rejects.toThrow('ECONNREFUSED')
  },
)
