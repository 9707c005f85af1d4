/** A real OpenSMTPD as a target. */
import { join } from 'node:path'
import { startOpenSmtpd } from '../services/opensmtpd.ts'
import { waitUntil } from '../services/processes.ts'
import { filesBelow, mailboxesBelow } from './mailboxes.ts'
import { stored } from './newline-rule.ts'
import { RECIPIENTS, SIZE_LIMIT, type Target } from './target.ts'

/** What it adds where the header has none. */
const ADDED = /^((?:[^\n]+\n)*?)((?:(?:Date|Message-ID): .*\n)+)(?=\n|$)/

export async function startOpenSmtpdTarget(): Promise<Target> {
  const opensmtpd = await startOpenSmtpd({ recipients: RECIPIENTS, sizeLimit: SIZE_LIMIT })
  const at = (listener: string): string => `127.0.0.1:${opensmtpd.port(listener)}`
  const mailboxes = mailboxesBelow(join(opensmtpd.directory, 'mail'), RECIPIENTS)
  const queued = (): string[] => filesBelow(join(opensmtpd.directory, 'spool/smtpd'))
  return {
    name: 'opensmtpd',
    listeners: { none: at('plain'), received: at('plain'), 'proxy-v2': at('haproxy') },
    directPort: opensmtpd.port('plain'),
    idOf: (reply) => /^250 2\.0\.0 ([0-9a-f]{8}) Message accepted/.exec(reply)?.[1],
    // It cuts a line at a NUL.
    expected: (body) => stored(body).replace(/\0.*/g, ''),
    settled: () =>
      waitUntil(
        () => queued().length === 0 || undefined,
        20_000,
        () => `the queue is not empty: ${queued()}\n${opensmtpd.log().slice(-3000)}`,
      ).then(() => undefined),
    collect: () => mailboxes.collect().map((each) => ({ ...each, content: each.content.replace(ADDED, '$1') })),
    stop: () => opensmtpd.stop(),
  }
}
