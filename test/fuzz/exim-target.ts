/** A real Exim as a target. */
import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { startExim } from '../services/exim.ts'
import { waitUntil } from '../services/processes.ts'
import { filesBelow, mailboxesBelow } from './mailboxes.ts'
import { stored } from './newline-rule.ts'
import { RECIPIENTS, SIZE_LIMIT, type Target } from './target.ts'

export async function startEximTarget(): Promise<Target> {
  const exim = await startExim({ recipients: RECIPIENTS, sizeLimit: SIZE_LIMIT, params: { dsn_advertise_hosts: '*' } })
  const at = (listener: string): string => `127.0.0.1:${exim.port(listener)}`
  const mailboxes = mailboxesBelow(join(exim.directory, 'mail'), RECIPIENTS)
  const queued = (): string[] => filesBelow(join(exim.directory, 'spool/input'))
  return {
    name: 'exim',
    listeners: { none: at('plain'), received: at('plain'), 'proxy-v2': at('haproxy') },
    directPort: exim.port('plain'),
    idOf: (reply) => /^250 OK id=(\S+)$/.exec(reply)?.[1],
    expected: stored,
    settled: () =>
      waitUntil(
        () => queued().length === 0 || undefined,
        20_000,
        () => `the queue is not empty: ${queued()}\n${exim.log().slice(-3000)}`,
      ).then(() => undefined),
    collect() {
      truncateSync(join(exim.directory, 'log/mainlog'))
      return mailboxes.collect()
    },
    stop: () => exim.stop(),
  }
}
