/** What signals do to the running program. */
import { afterEach, expect, test } from '@jest/globals'
import { connectClient } from '../support/client.ts'
import { Program, SERVE_ENV } from '../support/program.ts'

let program: Program
afterEach(() => program.end())

test.each(['SIGUSR1', 'SIGUSR2'] as const)(
  '%s opens no inspector and ends nothing: mail goes on, and SIGTERM still stops it cleanly',
  async (signal) => {
    program = new Program(['serve'], { env: SERVE_ENV })
    const { port } = await program.logged('listening for mail')
    const client = await connectClient(Number(port))
    await client.hello()
    program.child.kill(signal)
    await program.logged(new RegExp(`^${signal} does nothing`))
    expect(await client.command('NOOP')).toMatch(/^250/)
    // Node says so on stderr when it opens one.
    expect(program.err).toBe('')
    client.destroy()
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
  },
)

test('SIGUSR1 and SIGUSR2 spare the demo, too', async () => {
  program = new Program(['demo', '--port', '0', '--admin-port', '0'])
  await program.shows(/demo on 127\.0\.0\.1:/)
  program.child.kill('SIGUSR1')
  program.child.kill('SIGUSR2')
  // The next report comes from a program that has outlived both.
  const { length } = program.out
  await program.shows(new RegExp(`^[\\s\\S]{${length}}[\\s\\S]*HONEST MAIL`))
  expect(program.err).toBe('')
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
}, 30_000)
