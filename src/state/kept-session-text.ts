/**
 * How a session that is kept in Redis is written there, and what it is found by. What is read back is believed to be nothing but text of
 * others: it is checked field by field, clipped, and escaped once more.
 *
 *     a4cb007107 k5f0c… {"id":"1RV17D46005","host":"mx1.example.org",…}
 *     source     sender JSON, at most 1,024 octets in all
 */
import { isIP } from 'node:net'
import { addressHmac } from '../core/address-hmac.ts'
import { STANDINGS } from '../core/client.ts'
import { readId } from '../core/id.ts'
import { canonical, familyOf, type Network } from '../core/ip.ts'
import { groups, octets } from '../core/ip-bytes.ts'
import type { KeptMessage, KeptRecipient, KeptRefusal, KeptSession } from '../core/kept-session.ts'
import { CHECK_NAMES, REASON_NAMES } from '../core/reasons.ts'
import { STAGES } from '../core/stages.ts'
import { visible } from '../core/visible.ts'

/** The octets of a session in Redis, at most. */
export const MOST_OCTETS = 1024
/** Characters of a text in it. */
const MOST_TEXT = 160
/** The same, where the whole would be too long. */
const SHORTER_TEXT = 60
const MOST_TOLD = 3
const MOST_FACTS = 8
/** In place of a sender: there is none, and nobody looks for it. */
export const NO_SENDER = '-'
/** The first octets of an IPv6 address that are its source, the /64. */
const SOURCE6 = 8

const bytesOf = (ip: string): Buffer => (familyOf(ip) === 4 ? octets(ip) : groups(ip).subarray(0, SOURCE6))
const sourceKey = (ip: string, bytes: Buffer): string => `a${familyOf(ip)}${bytes.toString('hex')}`

/** What the sessions of a client are found by. Of two sources the lower one comes first. @param ip canonical */
export const keyOfSource = (ip: string): string => sourceKey(ip, bytesOf(ip))

/** The keys of the first and of the last source in a network of at most 64 bits, or of one IPv4 address. */
export function keysOfNetwork({ first, bits }: Network): readonly [first: string, last: string] {
  const bytes = bytesOf(first)
  const last = Buffer.from(bytes)
  for (let i = 0; i < last.length; i++) {
    const open = Math.min(8, Math.max(0, 8 * (i + 1) - bits))
    last[i] = (last[i] as number) | (0xff >> (8 - open))
  }
  return [sourceKey(first, bytes), sourceKey(first, last)]
}

/** What the HMACs of senders are made with. */
export interface SenderKeys {
  /** SPILLWAY_LOG_HMAC_KEY, which is not in Redis: whoever reads Redis alone cannot try addresses. */
  readonly log: string | undefined
  /** The secret that all nodes have agreed on (known-sharing.ts); undefined: none yet. */
  readonly agreed: string | undefined
}

/** @param sender as senderOf() gives it @returns what its sessions may be found by; the first is how new ones are kept */
export const keysOfSender = (sender: string, { log, agreed }: SenderKeys): readonly string[] => [
  ...(log === undefined ? [] : [`h${addressHmac(log, sender)}`]),
  ...(agreed === undefined ? [] : [`k${addressHmac(`sender ${agreed}`, sender)}`]),
]

/** @param sender its key, or NO_SENDER */
export function textOfSession(session: KeptSession, sender: string): string {
  const written = (what: unknown): string => `${keyOfSource(session.ip)} ${sender} ${JSON.stringify(what)}`
  const fits = (text: string): boolean => Buffer.byteLength(text) <= MOST_OCTETS
  const whole = written({ ...session, refusal: session.refusal })
  if (fits(whole)) return whole
  const short = shortened(session)
  const shorter = written(short)
  if (fits(shorter)) return shorter
  return written({ ...short, rcpts: [], messages: [], helo: undefined })
}

const cut = (text: string): string => text.slice(0, SHORTER_TEXT)
const cutOrNone = (text: string | undefined): string | undefined => text && cut(text)

function shortened(session: KeptSession): KeptSession {
  const { host, helo, from, refusedBy, refusal, rcpts, messages } = session
  return {
    ...session,
    ...{ host: cut(host), helo: cutOrNone(helo), from: cutOrNone(from) },
    refusal: refusal && { ...refusal, facts: {} },
    rcpts: rcpts.slice(0, 1).map((each) => ({ ...each, to: cut(each.to) })),
    messages: messages.slice(0, 1).map(({ result, reply }) => ({ result, reply: cut(reply) })),
    refusedBy: refusedBy && { upstream: cut(refusedBy.upstream), reply: cut(refusedBy.reply) },
  }
}

/** Of somebody who may write anything there. @returns undefined if it is no session */
export function sessionIn(text: unknown): KeptSession | undefined {
  if (typeof text !== 'string' || text.length > MOST_OCTETS) return undefined
  let read: Record<string, unknown>
  try {
    read = JSON.parse(/^\S+ \S+ (\{.*\})$/s.exec(text)?.[1] ?? '') as typeof read
  } catch {
    return undefined
  }
  const { id, ip } = read
  const standing = STANDINGS.find((each) => each === read.standing)
  const stage = STAGES.find((each) => each === read.stage)
  const isId = typeof id === 'string' && id.length === 11 && readId(id) !== undefined
  if (!isId || typeof ip !== 'string' || isIP(ip) === 0 || canonical(ip) !== ip) return undefined
  if (standing === undefined || stage === undefined) return undefined
  return {
    ...{ id, ip, standing, stage },
    host: textIn(read.host) ?? 'unknown',
    sample: countIn(read.sample) ?? 1,
    refusal: refusalIn(read.refusal),
    ...{ helo: textIn(read.helo), from: textIn(read.from), fromHmac: textIn(read.fromHmac) },
    rcpts: listIn(read.rcpts, recipientIn),
    rcptCount: countIn(read.rcptCount) ?? 0,
    messages: listIn(read.messages, messageIn),
    refusedBy: refusedByIn(read.refusedBy),
    observe: [...CHECK_NAMES, ...REASON_NAMES].filter(
      (name, i, all) => Array.isArray(read.observe) && read.observe.includes(name) && all.indexOf(name) === i,
    ),
  }
}

const textIn = (value: unknown): string | undefined =>
  typeof value === 'string' ? visible(value.slice(0, MOST_TEXT)).replace(/\n/g, ' ').slice(0, MOST_TEXT) : undefined

const countIn = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : undefined

const fieldsOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}

const listIn = <T>(value: unknown, read: (fields: Record<string, unknown>) => T | undefined): readonly T[] =>
  Array.isArray(value) ? value.slice(0, MOST_TOLD).flatMap((each) => read(fieldsOf(each)) ?? []) : []

function refusalIn(value: unknown): KeptRefusal | undefined {
  const { reason, code, facts } = fieldsOf(value)
  const name = REASON_NAMES.find((each) => each === reason)
  const said = countIn(code)
  if (name === undefined || said === undefined) return undefined
  const told = Object.entries(fieldsOf(facts)).flatMap(([fact, of]) => {
    const told = typeof of === 'number' ? of : textIn(of)
    return told === undefined || !/^\w{1,40}$/.test(fact) ? [] : [[fact, told] as const]
  })
  return { reason: name, code: said, facts: Object.fromEntries(told.slice(0, MOST_FACTS)) }
}

function recipientIn(fields: Record<string, unknown>): KeptRecipient | undefined {
  const [to, toHmac, code] = [textIn(fields.to), textIn(fields.toHmac), countIn(fields.code)]
  if (to === undefined || code === undefined) return undefined
  return { to, ...(toHmac !== undefined && { toHmac }), code }
}

function messageIn(fields: Record<string, unknown>): KeptMessage | undefined {
  const [result, reply] = [textIn(fields.result), textIn(fields.reply)]
  return result === undefined || reply === undefined ? undefined : { result, reply }
}

function refusedByIn(value: unknown): KeptSession['refusedBy'] {
  const fields = fieldsOf(value)
  const [upstream, reply] = [textIn(fields.upstream), textIn(fields.reply)]
  return upstream === undefined || reply === undefined ? undefined : { upstream, reply }
}
