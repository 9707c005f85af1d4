/** A node that cannot listen on one of its addresses holds none of the others. */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { ListenError } from '../../src/app.ts'
import { holderOf } from '../../src/cli/port-holder.ts'
import { startApp } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { run, SERVE_ENV } from '../support/program.ts'

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

describe('another program of the same user that shares its port, as HAProxy does', () => {
  // Its command line tries to look like more than one line.
  const SCRIPT = `require('node:net').createServer().listen({ port: 0, host: process.argv[1], reusePort: true }, function () {
    console.log(this.address().port) })`
  const start = async (host: string) => {
    const child = spawn(process.execPath, ['-e', SCRIPT, host, 'x'.repeat(600)], { argv0: 'evil\n\x1b[2J\u202e' })
    const [port] = (await once(child.stdout, 'data')) as [Buffer]
    const stop = async (): Promise<void> => {
      child.kill()
      await once(child, 'exit')
    }
    return { pid: child.pid, port: Number(port), stop }
  }

  test.each([
    ['1', '127.0.0.1', '127.0.0.1'],
    ['2', '127.0.0.1', '127.0.0.1'],
    ['1', '0.0.0.0', '127.0.0.1'],
    ['1', '::1', '[::]'],
  ])('is not joined, and named: SPILLWAY_WORKERS=%s, it has %s, and we want %s', async (workers, has, wants) => {
    const { pid, port, stop } = await start(has)
    try {
      const env = { ...SERVE_ENV, SPILLWAY_LISTEN: `${wants}:${port}`, SPILLWAY_WORKERS: workers }
      const { code, output } = await run(['serve'], { env })
      const line = output.split('\n').find((each) => each.includes('"cannot start"'))
      expect(JSON.parse(line ?? output)).toMatchObject({
        err: expect.stringContaining('EADDRINUSE'),
        setting: 'SPILLWAY_LISTEN',
        advice: expect.stringMatching(
          new RegExp(
            `^another program listens there already: evil \\[2J -e require.* \\(pid ${pid}\\); stop it, or choose another port$`,
          ),
        ),
      })
      expect(code).toBe(1)
    } finally {
      await stop()
    }
  })

  test('its name is one short line, and the one that has another address is not meant', async () => {
    const { pid, port, stop } = await start('127.0.0.2')
    try {
      const name = (await holderOf({ host: '127.0.0.2', port })) as string
      expect(name).toMatch(new RegExp(`^[ -~]{80,120}… \\(pid ${pid}\\)$`))
      expect(await holderOf({ host: '0.0.0.0', port })).toBe(name)
      expect(await holderOf({ host: '127.0.0.3', port })).toBeUndefined()
    } finally {
      await stop()
    }
  })
})
