/** deploy/haproxy/haproxy.cfg with a real HAProxy: two nodes are upgraded behind it, one after the other, under load. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { afterEach, expect, test } from '@jest/globals'
import { type HAProxy, startHAProxyAs } from '../services/haproxy.ts'
import { freePorts } from '../services/ports.ts'
import { BALANCER, eventually } from '../support/app.ts'
import { Program, ROOT, SERVE_ENV } from '../support/program.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

interface Address {
  readonly mail: number
  readonly admin: number
}

/** The file as it is shipped, with addresses of this machine. */
function shipped(port: number, [first, second]: readonly [Address, Address]): string {
  const replaced: readonly [string | RegExp, string][] = [
    ['bind :25\n', `bind 127.0.0.1:${port}\n`],
    ['192.0.2.11:2525', `127.0.0.1:${first.mail} port ${first.admin} source ${BALANCER}`],
    ['192.0.2.12:2525', `127.0.0.1:${second.mail} port ${second.admin} source ${BALANCER}`],
  ]
  let text = readFileSync(new URL('deploy/haproxy/haproxy.cfg', ROOT), 'utf8')
  for (const [from, to] of replaced) {
    expect(text).toContain(from)
    text = text.replace(from, to)
  }
  return text
}

async function startNode({ mail, admin }: Address, upstream: Upstream): Promise<Program> {
  const program = new Program(['serve'], {
    env: {
      ...SERVE_ENV,
      SPILLWAY_LISTEN: `127.0.0.1:${mail}`,
      SPILLWAY_ADMIN_LISTEN: `127.0.0.1:${admin}`,
      SPILLWAY_PROXY_PROTOCOL_FROM: BALANCER,
      SPILLWAY_UPSTREAMS: upstream.address,
      SPILLWAY_RELAY_GUARD: 'off',
    },
  })
  ends.push(() => program.end())
  await program.logged('listening for mail')
  return program
}

const MESSAGE = [
  'EHLO a.example',
  'MAIL FROM:<a@a.example>',
  'RCPT TO:<b@b.example>',
  'DATA',
  'Subject: x\r\n\r\nx\r\n.',
]

/** All that a client is told, until the connection is closed. It goes on at each reply, and a broken connection ends it too. */
function visit(port: number, from: string, brings: boolean): Promise<string> {
  return new Promise((resolve) => {
    const lines = [...(brings ? MESSAGE : []), 'QUIT']
    let text = ''
    let read = 0
    const socket = connect({ host: '127.0.0.1', port, localAddress: from })
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const replies = text.match(/^\d{3} .*\r\n/gm)?.length ?? 0
      for (; read < replies; read++) {
        const line = lines.shift()
        if (line !== undefined) socket.write(`${line}\r\n`)
      }
    })
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(`${text}${code}`))
    socket.on('close', () => resolve(text))
  })
}

/** A hundred clients a second, every third with a message. */
function load(port: number): { readonly begun: number; stop(): Promise<string[]> } {
  const visits: Promise<string>[] = []
  const timer = setInterval(() => {
    const i = visits.length
    visits.push(visit(port, `127.3.${(i >> 8) & 255}.${i & 255}`, i % 3 === 0))
  }, 10)
  return {
    get begun() {
      return visits.length
    },
    stop() {
      clearInterval(timer)
      return Promise.all(visits)
    },
  }
}

const isUp = ({ status }: { status: string }): boolean => status === 'UP'

async function upgrade(node: Program, name: string, address: Address, upstream: Upstream, haproxy: HAProxy) {
  node.child.kill('SIGTERM')
  expect(await node.exited).toBe(0)
  await haproxy.waitForCheck(({ status }) => status.startsWith('DOWN'), 10_000, name)
  const next = await startNode(address, upstream)
  await haproxy.waitForCheck(isUp, 10_000, name)
  return next
}

test('two nodes are upgraded one after the other, and no client is refused', async () => {
  const upstream = await startUpstream()
  ends.push(() => upstream.stop())
  const [a, b, c, d] = (await freePorts(4)) as [number, number, number, number]
  const addresses = { mx1: { mail: a, admin: b }, mx2: { mail: c, admin: d } }
  const nodes = { mx1: await startNode(addresses.mx1, upstream), mx2: await startNode(addresses.mx2, upstream) }
  const haproxy = await startHAProxyAs((port) => shipped(port, [addresses.mx1, addresses.mx2]), 'mx1')
  ends.push(() => haproxy.stop())
  for (const name of ['mx1', 'mx2']) await haproxy.waitForCheck(isUp, 10_000, name)

  const clients = load(haproxy.port)
  for (const name of ['mx1', 'mx2'] as const) {
    const { begun } = clients
    await eventually(
      () => clients.begun,
      (count) => count >= begun + 50,
    )
    nodes[name] = await upgrade(nodes[name], name, addresses[name], upstream, haproxy)
  }
  const told = await clients.stop()

  expect(told.length).toBeGreaterThan(200)
  const greeted = told.filter((text) => text.startsWith('220 '))
  // Those that HAProxy has connected before the port was closed, and whose PROXY header is read only after the signal, are asked to come
  // back in place of the greeting: some, where a busy machine is late with the signal or the header.
  const putOff = told.filter((text) => /^421 4\.3\.2 [^\n]*\n$/.test(text))
  expect(putOff.length).toBeLessThan(told.length / 20)
  // The kernel resets a connection that HAProxy makes between the last look at the queue and the close right after it. With a hundred a
  // second that is one in some dozen stops, on a busy machine; a second one for a node would be something else.
  expect(told.length - greeted.length - putOff.length).toBeLessThanOrEqual(2)
  // Who was greeted by a node that was about to end heard so, and nobody was cut off.
  expect(
    greeted.filter((text) => !/^(221|421) [^\n]*\n$/m.test(text.slice(text.lastIndexOf('\n', text.length - 2) + 1))),
  ).toEqual([])
  const brought = told.filter((text) => /^354 .*\r\n250 /m.test(text)).length
  expect(upstream.bodies()).toHaveLength(brought)
  expect(brought).toBeGreaterThan(50)
  // Both nodes had their share.
  for (const name of ['mx1', 'mx2']) expect((await haproxy.check(name)).downs).toBe(1)
})
