/**
 * Run by test/fuzz/narrow.sh with RECEIVE=4096, so that connections hold a few KiB: a client that has said much, and reads a
 * little of the replies now and then. Prints how long it was borne, in ms, and what it held at the end.
 */
import { startApp } from '../../support/app.ts'
import { startUpstream } from '../../support/upstream.ts'

const IDLE_MS = 500
const BETWEEN_READS_MS = 100
const GIVE_UP_MS = 10_000

const upstream = await startUpstream({
  script: (verb, line) => (verb === 'RCPT' && line.includes('<no') ? `550 5.1.1 ${'x'.repeat(400)}` : 'default'),
})
const app = await startApp(upstream.address, {}, (same) => ({ ...same, idleTimeout: IDLE_MS }))
const client = await app.client()
await client.hello()
await client.command('MAIL FROM:<a@example.org>')
await client.command('RCPT TO:<b@example.net>')
const { socket } = client
socket.pause()
const began = performance.now()
socket.write('RCPT TO:<nobody@example.net>\r\n'.repeat(900))
socket.on('data', () => socket.pause())
const reading = setInterval(() => socket.resume(), BETWEEN_READS_MS)
const connections = 'spillway_connections_open{family="ipv4"}'
const slots = `spillway_upstream_connections_open{upstream="${upstream.address}"}`
while ((await app.metric(connections)) !== 0 && performance.now() - began < GIVE_UP_MS) {
  await new Promise((resolve) => setTimeout(resolve, 50))
}
const ms = performance.now() - began
clearInterval(reading)
client.destroy()
const { reason } = await app.waitForLog(({ msg }) => msg === 'session')
console.log(JSON.stringify({ ms, slots: await app.metric(slots), reason }))
await app.running.abort()
await app.stop()
await upstream.stop()
