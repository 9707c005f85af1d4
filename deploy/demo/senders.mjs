/**
 * The demo's senders alone, for its compose stack: twenty honest mail servers, and a flood from thousands of addresses of
 * 127.0.0.0/8. Spillway sees each as a separate client only if nothing rewrites addresses in between, so the senders
 * share the host's network with it. They connect to DEMO_TARGET (127.0.0.1:2525), and report their figures once a minute.
 *
 * First they read the greeting of that server and check its name. Otherwise, on a machine whose node serves real mail
 * servers, that node would get the flood. Then Spillway learns, as from the logs of an operator's mail servers, that the twenty
 * have always sent honest mail: through Redis (`spillway learn`).
 */
import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { Lines } from '../../dist/cli/demo/dialogue.js'
import { Flood } from '../../dist/cli/demo/flood.js'
import { HONEST, HonestSenders } from '../../dist/cli/demo/honest.js'

const [host, port] = (process.env.DEMO_TARGET ?? '127.0.0.1:2525').split(':')
if (host === undefined || !/^127(\.[0-9]{1,3}){3}$/.test(host)) throw new Error('DEMO_TARGET is 127.x.y.z:PORT')

/** SPILLWAY_HOSTNAME in spillway.env beside this file. */
const DEMO_NAME = 'mx.example.test'

/** @returns {Promise<string>} the first line of the greeting; empty if none comes within 5 s */
function greeting() {
  return new Promise((resolve) => {
    const socket = connect({ host, port: Number(port), timeout: 5000 })
    socket.on('timeout', () => socket.destroy())
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(''))
    createInterface({ input: socket }).once('line', (line) => {
      resolve(line)
      socket.end('QUIT\r\n')
    })
  })
}

const heard = await greeting()
if (!heard.split(' ').includes(DEMO_NAME)) {
  console.error(`demo senders: ${host}:${port} is not the demo's Spillway, ${DEMO_NAME}, and is left alone: ${heard}`)
  process.exit(1)
}

/** As many messages of each sender as in `npm run demo`. */
const ACCEPTED_BEFORE = 40
/** Nodes ask Redis for news every second. */
const HEARD_MS = 3000
const today = new Date().toISOString()
const { status } = spawnSync(process.execPath, ['dist/main.js', 'learn', '-'], {
  input: [...HONEST.keys()].map((ip) => `${ip},${ACCEPTED_BEFORE},0,${today}\n`).join(''),
  stdio: ['pipe', 'inherit', 'inherit'],
})
if (status !== 0) process.exit(1)
await setTimeout(HEARD_MS)

const now = () => performance.now()
const lines = new Lines({ host, port: Number(port) })
const honest = new HonestSenders(lines, now)
const flood = new Flood(lines, now)
const report = () => {
  const { sent, accepted, putOff, waiting, lost } = honest.mail
  console.log(JSON.stringify({ honest: { sent, accepted, putOff, waiting, lost }, open: lines.open }))
}
honest.start()
flood.start()
setInterval(report, 60_000)
console.log(`demo senders: calling ${host}:${port}`)
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    honest.stop()
    flood.stop()
    lines.close()
    report()
    process.exit(0)
  })
}
