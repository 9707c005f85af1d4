/**
 * What a mail server called a message in its reply to the dot.
 *
 *     Postfix               250 2.0.0 Ok: queued as 4XyZ0123abc
 *     Exim                  250 OK id=1abcde-0001Ab-2C
 *     sendmail, OpenSMTPD   250 2.0.0 1a2b3c4d Message accepted for delivery
 *
 * Behind a content filter Postfix repeats what it heard of the next server, with the id there: `queued as` is the last then.
 */

const FORMS = [
  /\bqueued as ([\w-]{4,64})(?![\w-])(?!.*\bqueued as )/i,
  /\bid=([\w-]{4,64})(?![\w-])/i,
  /\s([\w-]{4,64}) message accepted for delivery/i,
]

/** @param reply its text; undefined if it names none */
export function queueIdIn(reply: string): string | undefined {
  for (const form of FORMS) {
    const id = form.exec(reply)?.[1]
    if (id !== undefined) return id
  }
  return undefined
}
