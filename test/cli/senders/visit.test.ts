/** What a visit can do beside bringing mail in the clear: STARTTLS, a rest within DATA, and what each recipient heard. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from '@jest/globals'
import { SMTPServer } from 'smtp-server'
import { type Answer, perform, type Visit } from '../../../src/cli/senders/visit.ts'
import { CERT, KEY } from '../../config/pem.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

interface Took {
  readonly isSecure: boolean
  readonly text: string
}

async function server(tls: boolean): Promise<{ port: number; took: Took[] }> {
  const took: Took[] = []
  const smtp = new SMTPServer({
    ...{ authOptional: true, disabledCommands: ['AUTH', ...(tls ? [] : ['STARTTLS'])], logger: false },
    ...(tls ? { cert: CERT, key: KEY } : {}),
    onRcptTo: ({ address }, _, done) => {
      const refused = Object.assign(new Error(`nobody is ${address}`), { responseCode: 550 })
      done(address.startsWith('gone') ? refused : null)
    },
    onData: (stream, session, done) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        took.push({ isSecure: session.secure, text: Buffer.concat(chunks).toString('latin1') })
        done()
      })
    },
  })
  smtp.on('error', () => undefined)
  smtp.listen(0, '127.0.0.1')
  await once(smtp.server, 'listening')
  stops.push(() => new Promise<void>((resolve) => smtp.close(resolve)))
  return { port: (smtp.server.address() as AddressInfo).port, took }
}

function visit(port: number, to: readonly string[], more: Partial<Visit>): Promise<readonly Answer[]> {
  const letter = { from: 'a@a.example', to, header: 'Subject: x\r\n', bodySize: 200_000 }
  const usual = { from: '127.0.0.1', helo: 'a.example', letters: [letter, letter], quits: true, patienceMs: 10_000 }
  return new Promise((resolve) => {
    const socket = perform({ host: '127.0.0.1', port }, { ...usual, ...more }, resolve)
    stops.push(() => socket.destroy())
  })
}

test.each([true, false])('STARTTLS where it is to be had: %s', async (tls) => {
  const { port, took } = await server(tls)
  const answers = await visit(port, ['u@x.example'], { tls: true })
  expect(answers.map(({ codes }) => codes)).toEqual([[250], [250]])
  expect(took.map(({ isSecure }) => isSecure)).toEqual([tls, tls])
  expect(took[0]?.text.length).toBeGreaterThan(190_000)
})

test('a rest in the middle of DATA: the message is whole, and its dot is so much later', async () => {
  const { port, took } = await server(false)
  const [answer] = await visit(port, ['u@x.example'], { restMs: 300 })
  if (answer?.dotAtMs === undefined) throw new Error('it had a dot')
  expect(answer.atMs - answer.dotAtMs).toBeGreaterThanOrEqual(0)
  expect(answer.tookMs - (answer.atMs - answer.dotAtMs)).toBeGreaterThanOrEqual(299)
  expect(took[0]?.text).toMatch(/^Subject: x\r\n\r\nThe quick/)
})

test('each recipient has the reply that refused it, and the others that to the dot', async () => {
  const { port } = await server(false)
  const [answer] = await visit(port, ['u@x.example', 'gone@x.example', 'v@x.example'], {})
  expect(answer?.codes).toEqual([250, 550, 250])
  expect(answer?.texts.map((text) => text.includes('nobody is gone@x.example'))).toEqual([false, true, false])
  const [none] = await visit(port, ['gone@x.example', 'gone2@x.example'], {})
  expect(none?.texts.map((text) => /gone2?@/.exec(text)?.[0])).toEqual(['gone@', 'gone2@'])
  expect(none?.dotAtMs).toBeUndefined()
})
