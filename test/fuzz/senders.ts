/** Real mail servers as senders: they are given messages, and say what they heard when they sent them on. */
import { startExim } from '../services/exim.ts'
import { startPostfix } from '../services/postfix.ts'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { RECIPIENTS } from './target.ts'

export interface Sender {
  /**
   * Gives it messages (any bytes that end in CRLF).
   * @returns how many it has made of them: what ends a message is its own affair
   */
  queue(messages: readonly string[]): Promise<number>
  /** Lets it send them, if it has not. @returns the replies to its dots, when there are that many */
  send(count: number): Promise<string[]>
  stop(): Promise<void>
}

const found = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map(([, first]) => String(first))

async function submit(port: number, message: string): Promise<number> {
  const client = await connectClient(port)
  await client.hello()
  for (const line of ['MAIL FROM:<sender@example.org>', `RCPT TO:<${RECIPIENTS[0]}>`, 'DATA']) {
    await client.command(line)
  }
  client.write(`Subject: queued\r\n\r\n${message}.\r\nQUIT\r\n`)
  const replies = await client.closed()
  client.destroy()
  return found(replies, /^(250) (?:2\.0\.0 Ok: queued|OK id=)/gm).length
}

async function submitAll(port: number, messages: readonly string[]): Promise<number> {
  const taken = await Promise.all(messages.map((message) => submit(port, message)))
  return taken.reduce((sum, each) => sum + each, 0)
}

/** Those to other commands are replies to its own bounces, which have no recipient behind us. First is its own id. */
const SENT_BY_POSTFIX =
  /: ([0-9A-F]+): to=.* status=\w+ \((?!.*\(in reply to (?:MAIL|RCPT))(?:host \S+ said: )?(.*?)(?: \(in reply to end of DATA command\))?\)$/gm
const SENT_BY_EXIM = / => .* C="(.*)"$/gm

export const SENDERS: Readonly<Record<string, (to: number) => Promise<Sender>>> = {
  async Postfix(to) {
    // It sends at once, without the pauses it makes for its queue manager and for a cache of connections it has not.
    const params = { smtpd_sender_restrictions: '', in_flow_delay: 0, smtp_connection_cache_on_demand: 'no' }
    const postfix = await startPostfix({ sendTo: to, params })
    return {
      queue: (messages) => submitAll(postfix.port(), messages),
      send: (count) =>
        eventually(
          // Who was put off may have been tried twice.
          () => [
            ...new Map(
              [...postfix.log().matchAll(SENT_BY_POSTFIX)].map(([, id, reply]) => [id, String(reply)]),
            ).values(),
          ],
          (replies) => replies.length >= count,
          15_000,
        ),
      stop: () => postfix.stop(),
    }
  },
  async Exim(to) {
    const exim = await startExim({ sendTo: to, params: { queue_only: 'true' } })
    return {
      queue: (messages) => submitAll(exim.port(), messages),
      async send() {
        await Promise.all(Array.from({ length: 4 }, () => exim.run(['-qff'])))
        return found(exim.log(), SENT_BY_EXIM).map((reply) => reply.replaceAll('\\n', '\n'))
      },
      stop: () => exim.stop(),
    }
  },
}
