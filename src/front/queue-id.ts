/**
 * What a mail server called a message in its reply to the dot.
 *
 *     Postfix               250 2.0.0 Ok: queued as 4XyZ0123abc
 *     Exim                  250 OK id=1abcde-0001Ab-2C
 *     sendmail, OpenSMTPD   250 2.0.0 1a2b3c4d Message accepted for delivery
 *
 * Behind a content filter Postfix repeats what it heard of the next server, with the id there: `queued as` is the last then.
 */

const QUEUED = /\bqueued as /gi
const ID = /^([\w-]{1,64})(?![\w-])/
/** Words that say less: what is shorter is no id. */
const FORMS = [/\bid=([\w-]{4,64})(?![\w-])/i, /\s([\w-]{4,64}) message accepted for delivery/i]

/** @param reply its text; undefined if it names none */
export function queueIdIn(reply: string): string | undefined {
  const queued = reply.split(QUEUED)
  const named = queued.length > 1 ? ID.exec(queued.at(-1) as string)?.[1] : undefined
  if (named !== undefined) return named
  for (const form of FORMS) {
    const id = form.exec(reply)?.[1]
    if (id !== undefined) return id
  }
  return undefined
}
