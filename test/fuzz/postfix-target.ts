/**
 * A real Postfix as a target. It is told to be as careless about bare newlines as it was before CVE-2023-51764, so that
 * what is right was done by us.
 */
import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { startPostfix } from '../services/postfix.ts'
import { waitUntil } from '../services/processes.ts'
import { filesBelow, mailboxesBelow } from './mailboxes.ts'
import { stored } from './newline-rule.ts'
import { RECIPIENTS, SIZE_LIMIT, type Target } from './target.ts'

/** Messages on their way are a file in one of these. */
const QUEUES = ['maildrop', 'incoming', 'active', 'deferred', 'hold', 'corrupt']

export async function startPostfixTarget(): Promise<Target> {
  const postfix = await startPostfix({
    recipients: RECIPIENTS,
    sizeLimit: SIZE_LIMIT,
    listeners: [{ kind: 'plain' }, { kind: 'xclient' }, { kind: 'haproxy' }],
    params: {
      smtpd_forbid_bare_newline: 'no',
      smtpd_forbid_unauth_pipelining: 'no',
      enable_long_queue_ids: 'yes',
      smtpd_error_sleep_time: 0,
    },
  })
  const at = (listener: string): string => `127.0.0.1:${postfix.port(listener)}`
  const mailboxes = mailboxesBelow(join(postfix.directory, 'mail'), RECIPIENTS)
  const queued = (): string[] => QUEUES.flatMap((queue) => filesBelow(join(postfix.directory, 'queue', queue)))
  return {
    name: 'postfix',
    listeners: { none: at('plain'), received: at('plain'), xclient: at('xclient'), 'proxy-v2': at('haproxy') },
    directPort: postfix.port('plain'),
    idOf: (reply) => /^250 2\.0\.0 Ok: queued as (\w+)$/.exec(reply)?.[1],
    expected: stored,
    settled: () =>
      waitUntil(
        () => queued().length === 0 || undefined,
        20_000,
        () => `the queue is not empty: ${queued()}\n${postfix.log().slice(-3000)}`,
      ).then(() => undefined),
    collect() {
      // It goes on behind the place it had come to: the file is opened for appending.
      truncateSync(join(postfix.directory, 'maillog'))
      return mailboxes.collect()
    },
    stop: () => postfix.stop(),
  }
}
