/**
 * Plays sessions side by side against a stage, and holds what clients heard against what the server delivered, what the
 * log tells, and what the metrics count:
 *
 * - each 250 to a dot names one message, and that is delivered once, to those who were accepted, with what was sent;
 * - nothing else is delivered, but for messages whose client had sent the dot and left without the reply;
 * - what the server takes when it comes directly it takes through us.
 */
import { miscounted } from './counts.ts'
import { sendTwins } from './direct.ts'
import { apart, hasBareNewline } from './newline-rule.ts'
import { type Played, play } from './play.ts'
import type { Transaction } from './reader.ts'
import type { Session } from './session.ts'
import { shown } from './shown.ts'
import type { Stage, Variant } from './stage.ts'
import { type Delivered, isKnown, isMarked, mailboxOf, type Target } from './target.ts'

export interface Comparison {
  /** What is wrong; empty is good. */
  readonly findings: readonly string[]
  /** Messages a client has sent to the dot and heard a reply to; of these, those that heard 250. */
  readonly transactions: number
  readonly accepted: number
  /** Bodies that were held against what was sent. */
  readonly bodies: number
  /** Delivered, and the client had left before it heard so. */
  readonly unheard: number
}

/**
 * What is left of a message where servers differ in how they repair a header. A first line that begins with a blank goes on
 * with Postfix's own trace line, as it does when the message comes directly, and is not seen in the mailbox; Exim keeps it.
 */
const bare = (text: string): string => text.replace(/[\s\0?]/g, '')
const gists = (text: string): string[] => [bare(text), bare(text.replace(/^(?:[ \t].*\n)+/, ''))]
const count = (all: readonly string[], one: string): number => all.filter((each) => each === one).length

export async function compare(stage: Stage, sessions: readonly Session[]): Promise<Comparison> {
  const { target, variant } = stage
  const played = await playAll(sessions, stage.port)
  const findings = played.flatMap(({ reader }, index) => reader.problems.map((each) => `session ${index}: ${each}`))
  const told = await stage.sessions(sessions.length)
  if (told.length > sessions.length) findings.push(`${told.length} sessions in the log, not ${sessions.length}`)
  if (stage.connectionsOpen() > 0) findings.push(`${stage.connectionsOpen()} connections are open, and nobody is there`)
  await target.settled()

  const answered = played.flatMap(({ reader }) => reader.transactions)
  findings.push(...answered.flatMap((each) => misjudged(each, variant)))
  const accepted = acceptedBy(target, answered, findings)
  const twins = await sendTwins(target, variant, accepted, answered, findings)
  await target.settled()

  const delivered = Map.groupBy(target.collect(), ({ id }) => id)
  const contentOf = (copies: readonly Delivered[]): string => stripped(copies, variant, findings)
  const directly = new Map<string, string>()
  for (const [twin, id] of twins) {
    directly.set(id, contentOf(delivered.get(twin) ?? []))
    delivered.delete(twin)
  }
  /** As it should look for whoever reads it. */
  const expected = (body: string): string => apart(target.expected(body), variant.clientIp === 'received')
  let bodies = 0
  for (const [id, transaction] of accepted) {
    const { body } = transaction
    const copies = delivered.get(id)
    delivered.delete(id)
    if (copies === undefined) {
      findings.push(`${id} was answered with 250 and is not delivered: ${shown(body)}`)
      continue
    }
    findings.push(...misdirected(transaction, copies))
    const content = contentOf(copies)
    const twin = directly.get(id)
    const known = isMarked(body) || target.directPort === undefined ? [expected(body)] : []
    for (const right of twin === undefined ? known : [...known, twin]) {
      bodies++
      if (content !== right)
        findings.push(`${id} was sent as ${shown(body)}, is ${shown(content)}, not ${shown(right)}`)
    }
  }

  // Whatever is left, its client has sent it to the end and did not wait.
  const open = played.filter(({ vanished }) => vanished).flatMap(({ reader }) => reader.possible(isKnown))
  const unheard = delivered.size
  for (const [id, copies] of delivered) {
    const content = contentOf(copies)
    const at = open.findIndex(({ body }) => {
      if (variant.bareNewline === 'reject' && hasBareNewline(body)) return false
      const exact = isMarked(body) || target.directPort === undefined
      return exact ? expected(body) === content : gists(expected(body)).includes(bare(content))
    })
    if (at < 0) findings.push(`${id} was delivered, and nobody has sent it: ${shown(content)}`)
    else open.splice(at, 1)
  }

  const counted = await stage.results()
  findings.push(...miscounted(counted, played.flatMap(transactionsOf), told, accepted.size + unheard))
  findings.push(...stage.faults().map((line) => `in the log: ${line}`))
  return { findings, transactions: answered.length, accepted: accepted.size, bodies, unheard }
}

/** No more than this many at once: OpenSMTPD has room for 5 connections that it has not accepted yet. */
const AT_ONCE = 5

async function playAll(sessions: readonly Session[], port: number): Promise<Played[]> {
  const played: Played[] = []
  const waiting = sessions.entries()
  const lane = async (): Promise<void> => {
    for (const [index, session] of waiting) played[index] = await play(session, port)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
  return played
}

const transactionsOf = ({ reader }: Played): readonly Transaction[] => reader.transactions

/** By what the server calls them. */
function acceptedBy(target: Target, answered: readonly Transaction[], findings: string[]): Map<string, Transaction> {
  const accepted = new Map<string, Transaction>()
  for (const each of answered) {
    if (!each.reply?.startsWith('2')) continue
    const id = target.idOf(each.reply)
    if (id === undefined) findings.push(`a yes that is not the server's: ${each.reply}`)
    else if (accepted.has(id)) findings.push(`two messages were answered with ${id}`)
    else accepted.set(id, each)
  }
  return accepted
}

/** R27: where bare newlines are refused, they are refused, and nothing else is. A message may be too large as well. */
function misjudged({ body, reply = '' }: Transaction, { bareNewline }: Variant): string[] {
  const refused = reply.startsWith('550 5.5.2 ')
  const should = bareNewline === 'reject' && hasBareNewline(body)
  if (refused && !should) return [`refused for a bare newline: ${shown(body)}`]
  return should && !refused && !reply.startsWith('552 5.3.4') ? [`a bare newline, and ${reply}: ${shown(body)}`] : []
}

/** Who is named twice, in two ways of writing, may have two copies. */
function misdirected({ recipients }: Transaction, copies: readonly Delivered[]): string[] {
  if (!recipients.every(isKnown)) return []
  const named = recipients.map(mailboxOf)
  const got = copies.map(({ recipient }) => recipient)
  const right = [...named, ...got].every((each) => count(got, each) > 0 && count(got, each) <= count(named, each))
  return right ? [] : [`${copies[0]?.id} is for ${named} and was delivered to ${got}`]
}

const OUR_TRACE = /^Received: from .*\r?\n\t(?:.*\r?\n\t)*?by \S+ \(Spillway\) .*\r?\n\t.*\r?\n/

/** What all copies of a message have in common, without the line that we have put on top. */
function stripped(copies: readonly Delivered[], variant: Variant, findings: string[]): string {
  const [first] = copies
  for (const copy of copies) {
    if (copy.content !== first?.content) findings.push(`copies of ${copy.id} differ`)
  }
  const content = first?.content ?? ''
  if (variant.clientIp !== 'received') return content
  if (!OUR_TRACE.test(content)) findings.push(`no trace line of ours on top of ${shown(content)}`)
  return content.replace(OUR_TRACE, '')
}
