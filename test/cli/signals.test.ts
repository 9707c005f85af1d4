/** What signals do to the running program. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import { makeCertificate } from '../support/certificates.ts'
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

test('SIGHUP reads the certificates again, at once, and ends nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'spillway-sighup-'))
  const files = { SPILLWAY_TLS_CERT: join(folder, 'cert'), SPILLWAY_TLS_KEY: join(folder, 'key') }
  const write = (): void => {
    const { cert, key } = makeCertificate({ names: ['DNS:mx.test.example'] })
    writeFileSync(files.SPILLWAY_TLS_CERT, cert)
    writeFileSync(files.SPILLWAY_TLS_KEY, key)
  }
  try {
    write()
    program = new Program(['serve'], { env: { ...SERVE_ENV, ...files } })
    const { port } = await program.logged('listening for mail')
    const shown = async (): Promise<string | undefined> => {
      const client = await connectClient(Number(port))
      await client.hello()
      await client.startTls()
      expect(await client.command('NOOP')).toMatch(/^250/)
      const { serverCertificate } = client
      client.destroy()
      return serverCertificate
    }
    const before = await shown()
    write()
    const asked = performance.now()
    program.child.kill('SIGHUP')
    await program.logged(/^SIGHUP: settings and certificates are read again/)
    await program.logged(/new TLS handshakes use the new ones/)
    // It did not wait until it would have looked by itself.
    expect(performance.now() - asked).toBeLessThan(5000)
    expect(await shown()).not.toBe(before)
    program.child.kill('SIGTERM')
    expect(await program.exited).toBe(0)
  } finally {
    rmSync(folder, { recursive: true })
  }
}, 30_000)

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

test('SIGTERM ends it cleanly also where nobody reads its log any more', async () => {
  program = new Program(['serve'], { env: SERVE_ENV })
  await program.logged('listening for mail')
  program.child.stdout?.destroy()
  program.child.stderr?.destroy()
  program.child.kill('SIGTERM')
  expect(await program.exited).toBe(0)
})
