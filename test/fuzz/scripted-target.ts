/**
 * The scripted upstream as a target: it keeps what it heard byte for byte, and refuses, lingers and reads slowly as no real
 * server can be made to. What it does to a message follows from the message alone, so that a session played again meets
 * the same.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { waitUntil } from '../services/processes.ts'
import { EXTENSIONS, startUpstream, type UpstreamConnection } from '../support/upstream.ts'
import { relayed } from './newline-rule.ts'
import { type Delivered, isKnown, mailboxOf, SIZE_LIMIT, type Target } from './target.ts'

const drawn = (text: string): number => createHash('sha1').update(text, 'latin1').digest()[0] as number
/** Enough for a body of the largest size where connections hold a few KiB. */
const RESTS = 20
const pathOf = (line: string): string => /^[^<]*<(.*)>/.exec(line)?.[1] ?? ''

/** Reads what there is, and then nothing for some milliseconds, a few times or until it is told to stop that. */
function readSlowly({ socket }: UpstreamConnection, ms: number): () => void {
  let rests = 0
  const stop = (): void => void socket.off('data', rest)
  const rest = (): void => {
    if (++rests === RESTS) stop()
    socket.pause()
    setTimeout(() => socket.resume(), ms)
  }
  socket.on('data', rest)
  rest()
  return stop
}

export async function startScriptedTarget(): Promise<Target> {
  let delivered: Delivered[] = []
  let count = 0
  let pending = 0
  const slow = new WeakMap<UpstreamConnection, () => void>()
  const upstream = await startUpstream({
    extensions: [...EXTENSIONS.filter((each) => !each.startsWith('SIZE')), `SIZE ${SIZE_LIMIT}`],
    async script(verb, line, connection) {
      if (verb === 'RCPT' && !isKnown(pathOf(line))) return '550 5.1.1 User unknown'
      if (verb === 'DATA') {
        const lot = drawn(connection.lines.join(' '))
        if (lot < 128) slow.set(connection, readSlowly(connection, lot % 8))
      }
      if (verb !== 'DOT') return 'default'
      slow.get(connection)?.()
      const body = String(connection.bodies.splice(0).at(-1)?.toString('latin1'))
      const lot = drawn(body)
      const lines = connection.lines.splice(0)
      if (lot < 8) return '452 4.3.1 Not now'
      if (lot < 16) return '554 5.6.0 Not this\r\n'
      if (lot < 20) {
        setImmediate(() => connection.socket.end())
        return '421 4.3.2 Going down'
      }
      pending++
      if (lot < 40) await sleep(lot)
      pending--
      const id = `S${++count}`
      const envelope = lines.slice(lines.findLastIndex((each) => /^MAIL/i.test(each)))
      const paths = envelope.filter((each) => /^RCPT/i.test(each)).map(pathOf)
      // Like the real ones: one copy for whoever is named twice.
      for (const recipient of new Set(paths.filter(isKnown).map(mailboxOf))) {
        delivered.push({ id, recipient, content: body })
      }
      return lot < 60 ? `250-2.0.0 Ok\r\n250 2.0.0 queued as ${id}\r\n` : `250 2.0.0 Ok: queued as ${id}`
    },
  })
  return {
    name: 'scripted',
    listeners: { none: upstream.address, received: upstream.address },
    directPort: undefined,
    idOf: (reply) => /^250[\s\S]* queued as (S[0-9]+)/.exec(reply)?.[1],
    expected: relayed,
    settled: () =>
      waitUntil(
        () => pending === 0 || undefined,
        5_000,
        () => 'replies to the dot are still to come',
      ).then(() => undefined),
    collect() {
      const all = delivered
      delivered = []
      // What it has closed is not needed any more.
      const open = upstream.connections.filter(({ closed }) => !closed)
      upstream.connections.splice(0, upstream.connections.length, ...open)
      return all
    },
    stop: () => upstream.stop(),
  }
}
