// What a message costs per MiB, depending on its content. A body of `..` lines has a dot to examine on every line. It
// must be no slower per byte than a body of as many lines without a dot, or than text; the goals allow a tenth for the
// noise of the machine. Only Spillway's CPU time is measured; its limits and the sink are the same for all.
//
//     npm run build && npm run bench:dots [-- --rounds N]

import { createConnection } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { startSink } from '../test/services/sink.ts'
import { alternate, judged, median, ratio, table } from './measure.ts'
import { atEnd, benchmark, need, rounds, startSpillway } from './processes.ts'

const MIB = 2 ** 20
const SIZE = 64 * MIB
/** After the reply the server still has to close the connection. */
const SETTLE_MS = 100
const GOAL_LINES = 1.1
const GOAL_TEXT = 1.1

/** A body that repeats `line`, dot-stuffed as on the wire, without the empty line and the final dot. */
const bodyOf = (line: string): Buffer => Buffer.alloc(Math.floor(SIZE / line.length) * line.length, line, 'latin1')

/** Sends one message, and resolves when it is accepted. */
function send(port: number, body: Buffer): Promise<void> {
  const steps = [
    'EHLO client.example\r\n',
    'MAIL FROM:<sender@example.org>\r\n',
    'RCPT TO:<anna@example.test>\r\n',
    'DATA\r\n',
    body,
    'QUIT\r\n',
  ]
  return new Promise((resolve, reject) => {
    const socket = createConnection({ port, host: '127.0.0.1', noDelay: true })
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (!/^\d{3} .*\r\n$/m.test(text)) return
      const step = steps.shift()
      if (/^[45]/m.test(text) || step === undefined) {
        if (step !== undefined) reject(new Error(text.trim()))
        return
      }
      text = ''
      socket.write(step)
      if (typeof step !== 'string') socket.write('\r\n.\r\n')
    })
    socket.on('error', reject)
    socket.on('close', () => resolve())
  })
}

await benchmark(async () => {
  need({ postfix: true })
  const sink = await startSink()
  atEnd(() => sink.stop())
  const spillway = await startSpillway({
    UPSTREAMS: `127.0.0.1:${sink.port}`,
    UPSTREAM_CLIENT_IP: 'none',
    RELAY_GUARD: 'off',
    LIMIT_IP_CONNECTIONS: '100000/1m',
  })
  const costs = (line: string) => {
    const body = bodyOf(line)
    return async (): Promise<number> => {
      const before = spillway.cpuMs()
      await send(spillway.port, body)
      await sleep(SETTLE_MS)
      return (spillway.cpuMs() - before) / (body.length / MIB)
    }
  }
  const turns = await alternate(
    {
      text: costs(`${'The quick brown fox jumps over the lazy dog. '.repeat(2).slice(0, 76)}\r\n`),
      short: costs('xx\r\n'),
      dots: costs('..\r\n'),
      stuffed: costs('..x\r\n'),
      bare: costs('..\n'),
    },
    rounds(),
  )
  const row = (name: string, values: readonly number[], againstText: string, againstShort: string) => [
    name,
    `${median(values).toFixed(2)} ms`,
    againstText,
    againstShort,
  ]
  const toText = (values: readonly number[]) => ratio(values, turns.text)
  const toShort = (values: readonly number[]) => ratio(values, turns.short)
  console.log(
    table(
      ['a message of 64 MiB', 'CPU per MiB', 'to text', 'to lines of `xx`'],
      [
        row('text, lines of 76', turns.text, '1.00', ''),
        row('lines of `xx`', turns.short, toText(turns.short).toFixed(2), '1.00'),
        row(
          'lines of `..`',
          turns.dots,
          judged(toText(turns.dots), { atMost: GOAL_TEXT }),
          judged(toShort(turns.dots), { atMost: GOAL_LINES }),
        ),
        row('lines of `..x`', turns.stuffed, toText(turns.stuffed).toFixed(2), toShort(turns.stuffed).toFixed(2)),
        row(
          'lines of `..`, each ended by a bare LF',
          turns.bare,
          toText(turns.bare).toFixed(2),
          toShort(turns.bare).toFixed(2),
        ),
      ],
    ),
  )
})
