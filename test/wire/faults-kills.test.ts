/** The program as a process of its own, killed in the middle of a session, in front of a scripted upstream and a Postfix. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect as connectTo, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import { type Postfix, startPostfix } from '../services/postfix.ts'
import { waitUntil } from '../services/processes.ts'
import { eventually, startApp, type TestApp } from '../support/app.ts'
import { type Client, connectClient } from '../support/client.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import { KILLS, type Kill } from './faults-kills.ts'
import type { Step } from './faults-table.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const ANNA = 'anna@example.test'
const HEAD = 'half of it'
const TAIL = '\r\nthe rest\r\n'
const nodes: ChildProcess[] = []

interface Node {
  client(): Promise<Client>
  kill(): Promise<void>
}

/** The program, as a process. */
async function startNode(upstream: string, clientIp: string): Promise<Node> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', 'src/main.ts', 'serve'], {
    cwd: ROOT,
    env: {
      PATH: process.env.PATH,
      SPILLWAY_UPSTREAMS: upstream,
      SPILLWAY_UPSTREAM_CLIENT_IP: clientIp,
      SPILLWAY_RELAY_GUARD: 'off',
      SPILLWAY_LISTEN: '127.0.0.1:0',
      SPILLWAY_ADMIN_LISTEN: '127.0.0.1:0',
      SPILLWAY_DNS_SERVERS: '127.0.0.1:1',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  nodes.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const port = await waitUntil(
    () => /"port":([0-9]+)[^\n]*"msg":"listening for mail"/.exec(output)?.[1],
    15_000,
    () => `it does not start: ${output}`,
  )
  return {
    client: async () => {
      const client = await connectClient(Number(port))
      await client.hello()
      return client
    },
    async kill() {
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}

/** Sends a message up to a step, as far as `arrived` tells that it got there. */
async function sendUpTo(client: Client, subject: string, step: Kill['step'], arrived: Arrived): Promise<void> {
  await client.command('MAIL FROM:<a@sender.example>')
  client.write(`RCPT TO:<${ANNA}>\r\n`)
  if (step === 'first RCPT') {
    await arrived('envelope')
    return
  }
  await client.reply()
  await client.command('DATA')
  client.write(`Subject: ${subject}\r\n\r\n${HEAD}`)
  await arrived('part')
  if (step === 'middle of the body') return
  client.write(TAIL)
  if (step === 'before the dot') return
  client.write('.\r\n')
  await arrived('whole')
  if (step === 'after the reply') expect(await client.reply()).toMatch(/^250/)
}
type Arrived = (what: 'envelope' | 'part' | 'whole') => Promise<unknown>

/** The client whose connection broke sends again, to another node. */
async function sendAgain(node: TestApp, subject: string): Promise<void> {
  const client = await node.client()
  await client.hello()
  expect(await client.send('a@sender.example', ANNA, `Subject: ${subject}\r\n\r\n${HEAD}${TAIL}`)).toMatch(/^250/)
  client.end()
}

/** Passes everything on to a server, and knows what passed: a Postfix does not tell how much of a text it has. */
async function startWitness(port: number): Promise<{ port: number; heard(): string; stop(): void }> {
  let heard = ''
  const sockets: Socket[] = []
  const server = createServer((near) => {
    const far = connectTo(port, '127.0.0.1')
    sockets.push(near, far)
    near.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1')
    })
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as { port: number }).port,
    heard: () => heard,
    stop() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

afterAll(() => {
  for (const node of nodes) node.kill('SIGKILL')
})

describe('R29 R33 killed in front of a scripted upstream, at', () => {
  let upstream: Upstream
  let other: TestApp
  beforeAll(async () => {
    upstream = await startUpstream({
      script: (verb) => (held === 'RCPT' || held === 'DOT' ? (verb === held ? 'silence' : 'default') : 'default'),
    })
    other = await startApp(upstream.address)
    const started = await Promise.all(KILLS.map(() => startNode(upstream.address, 'none')))
    node = new Map(KILLS.map(({ step }, i) => [step, started[i] as Node]))
  }, 20_000)
  afterAll(async () => {
    await other.stop()
    await upstream.stop()
  })
  let node: ReadonlyMap<Step, Node>
  let held: string | undefined
  afterEach(() => {
    held = undefined
  })

  test.each(KILLS.map((kill) => [kill.step, kill] as const))('%s', async (step, { message, confirmed, delivered }) => {
    held = step === 'first RCPT' ? 'RCPT' : step === 'between dot and reply' ? 'DOT' : undefined
    const { client: connect, kill } = node.get(step) as Node
    const client = await connect()
    const before = upstream.mailed().length
    const subject = step.replaceAll(' ', '-')
    const asked = () => upstream.mailed()[before]
    await sendUpTo(client, subject, step, (what) =>
      eventually(asked, (connection) =>
        what === 'envelope'
          ? connection?.lines.some((line) => line.startsWith('RCPT')) === true
          : what === 'part'
            ? (connection?.partial.length ?? 0) > 0
            : connection?.bodies.length === 1,
      ),
    )
    await kill()
    // The connection breaks, and that is all the client hears.
    expect(await client.closed()).toBe('')
    await eventually(asked, (connection) => connection?.closed === true)
    const { bodies, partial } = asked() ?? { bodies: [], partial: Buffer.alloc(0) }
    expect(bodies.length > 0 ? 'complete' : partial.length > 0 ? 'truncated' : 'none').toBe(message)
    held = undefined
    if (!confirmed) await sendAgain(other, subject)
    expect(upstream.bodies().filter((body) => body.includes(`Subject: ${subject}\r\n`))).toHaveLength(delivered)
  })
})

describe('R29 R33 killed in front of a Postfix, at', () => {
  let postfix: Postfix
  let other: TestApp
  beforeAll(async () => {
    postfix = await startPostfix({
      recipients: [ANNA],
      listeners: [{ kind: 'xclient' }],
      // So that there is a time between the dot and its answer.
      params: { smtpd_end_of_data_restrictions: 'sleep 1' },
    })
    other = await startApp(`127.0.0.1:${postfix.port()}`)
  }, 30_000)
  const witnesses: { stop(): void }[] = []
  afterAll(async () => {
    for (const witness of witnesses) witness.stop()
    await other.stop()
    await postfix.stop()
  })

  const shown = KILLS.filter((kill) => kill.postfix).map((kill) => [kill.step, kill] as const)
  test.each(shown)('%s', async (step, { delivered, message }) => {
    const witness = await startWitness(postfix.port())
    witnesses.push(witness)
    const node = await startNode(`127.0.0.1:${witness.port}`, 'xclient')
    const client = await node.client()
    const subject = step.replaceAll(' ', '-')
    const of = () => postfix.messages(ANNA).filter((text) => text.includes(`Subject: ${subject}\n`))
    await sendUpTo(client, subject, step, (what) =>
      eventually(witness.heard, (text) => text.includes(what === 'part' ? HEAD : '\r\n.\r\n')),
    )
    await node.kill()
    expect(await client.closed()).toBe('')
    if (message === 'truncated') await postfix.waitForLog(/lost connection after DATA \([0-9]+ bytes\)/)
    else await eventually(of, (found) => found.length === 1)
    await sendAgain(other, subject)
    await eventually(of, (found) => found.length === delivered)
    expect(of()).toHaveLength(delivered)
    for (const text of of()) expect(String(text)).toMatch(/\n\nhalf of it\nthe rest\n$/)
  })
})
