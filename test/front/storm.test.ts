/** R42: whatever clients do to their connections, nothing is left behind and everything is accounted for. */
import { afterEach, expect, test } from '@jest/globals'
import { BALANCER, eventually, startApp, type TestApp } from '../support/app.ts'
import { startUpstream } from '../support/upstream.ts'

const ends: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
})

/** The same every time: a linear congruential generator (Numerical Recipes). */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return (sides) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 0x1_0000_0000) * sides)
  }
}

const series = async (app: TestApp): Promise<Map<string, number>> => {
  const { body } = await app.get('/metrics')
  const lines = body.split('\n').filter((line) => line.startsWith('spillway_'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}
const sum = (all: Map<string, number>, name: string, also = ''): number =>
  [...all].reduce(
    (total, [key, value]) => (key.startsWith(`${name}{`) && key.includes(also) ? total + value : total),
    0,
  )

const SCRIPT =
  'EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<no@example.net>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nNOOP\r\nQUIT\r\n'

test('R1 R42 six hundred connections that reset, half-close, stall and vanish anywhere: all gauges are 0 again', async () => {
  const random = dice(42)
  let asked = 0
  const upstream = await startUpstream({
    script: async (verb, line, connection) => {
      asked++
      if (asked % 41 === 0) connection.socket.destroy()
      if (asked % 7 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      if (verb === 'RCPT' && line.includes('<no')) return '550 5.1.1 no such user'
      if (verb === 'DOT' && asked % 5 === 0) return '451 4.3.0 later'
      return 'default'
    },
  })
  const app = await startApp(
    upstream.address,
    {
      PROXY_PROTOCOL_FROM: BALANCER,
      LIMIT_NET_CONNECTIONS: '40/1h',
      DENY: '203.0.113.3',
      LIMIT_IP_UNKNOWN_RECIPIENTS: 'off',
      UPSTREAM_MAX_CONNECTIONS: '20',
    },
    (settings) => ({ ...settings, idleTimeout: 400, maxConnections: 60 }),
  )
  ends.push(
    () => upstream.stop(),
    () => app.stop(),
  )
  const one = async (i: number): Promise<void> => {
    const client = i % 3 === 0 ? await app.clientAs(`203.0.113.${i % 9}`) : await app.client(`127.0.${1 + (i % 50)}.1`)
    client.socket.on('error', () => undefined)
    const cut = random(SCRIPT.length + 1)
    client.write(SCRIPT.slice(0, cut))
    const way = random(5)
    if (way === 4) return
    await new Promise((resolve) => setTimeout(resolve, random(12)))
    if (way === 0) client.resetConnection()
    else if (way === 1) client.end()
    else if (way === 2) client.destroy()
    else client.write(SCRIPT.slice(cut))
  }
  for (let batch = 0; batch < 20; batch++) {
    await Promise.all(Array.from({ length: 30 }, (_, i) => one(batch * 30 + i)))
    const all = await series(app)
    expect(sum(all, 'spillway_connections_total')).toBe(
      sum(all, 'spillway_sessions_total') + sum(all, 'spillway_connections_open'),
    )
  }
  // Those that stalled are ended by the idle timeout, but in a message, where they have a minute: these leave now.
  await eventually(
    () => series(app),
    (now) => sum(now, 'spillway_refusals_total', '"idle"') > 0,
  )
  for (const client of app.clients) client.destroy()
  const all = await eventually(
    () => series(app),
    (now) => sum(now, 'spillway_connections_open') === 0 && app.running.status().connectionsOpen === 0,
  )
  expect(sum(all, 'spillway_connections_total')).toBe(sum(all, 'spillway_sessions_total'))
  // Some are reset before they are accepted, more of them where the machine is busy.
  expect(sum(all, 'spillway_connections_total')).toBeGreaterThan(100)
  await eventually(
    () => series(app),
    (now) => sum(now, 'spillway_upstream_connections_open') === 0,
  )
  // Every session that was shed or rejected has its row: a refusal of ours, or an upstream's reply, now or a short while ago.
  const turnedAway = sum(all, 'spillway_sessions_total', '"shed"') + sum(all, 'spillway_sessions_total', '"rejected"')
  const rows =
    sum(all, 'spillway_refusals_total', 'mode="enforce"') +
    sum(all, 'spillway_upstream_replies_total', '"4xx"') +
    sum(all, 'spillway_upstream_replies_total', '"5xx"') +
    sum(all, 'spillway_unknown_recipients_total', '"memory"')
  expect(turnedAway).toBeGreaterThan(20)
  expect(rows).toBeGreaterThanOrEqual(turnedAway)
  expect(sum(all, 'spillway_check_failures_total')).toBe(0)
  expect(app.log().filter(({ level }) => level === 'error')).toEqual([])
})
