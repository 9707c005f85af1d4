/**
 * Which mailbox an address means, as far as that can be told from outside. Counts and memories per recipient go by it:
 * one mailbox has endless spellings (case, quotes, a source route, what follows a +), and a client that varies them
 * must not seem to name many mailboxes. Nothing else goes by it: a mail server always gets the address as the client
 * spelt it.
 */
import { isAscii, utf8Of } from './latin1.ts'

/** A recipient is asked about several times in a row, by limits and memories that know nothing of each other. */
let last = { address: '', mailbox: '' }

/**
 * Removes the source route (RFC 5321 section 4.1.1.3), the quotes, and what follows a `+` in the local part (RFC 5233),
 * and folds case.
 * @param address in Latin-1, one character per byte, without angle brackets
 */
export function mailboxOf(address: string): string {
  if (address !== last.address) last = { address, mailbox: read(address) }
  return last.mailbox
}

function read(address: string): string {
  const route = address.startsWith('@') ? address.indexOf(':') : -1
  const path = route < 0 ? address : address.slice(route + 1)
  const text = isAscii(path) ? path : utf8Of(path).normalize('NFKC')
  const at = text.lastIndexOf('@')
  const local = at < 0 ? text : text.slice(0, at)
  const bare = local.startsWith('"') && local.endsWith('"') ? local.slice(1, -1).replace(/\\(.)/g, '$1') : local
  const plus = bare.indexOf('+')
  const mailbox = plus > 0 ? bare.slice(0, plus) : bare
  return (at < 0 ? mailbox : mailbox + text.slice(at)).toLowerCase()
}

/**
 * Whether mail from this address goes to whoever others have named: the null sender of bounces, automatic replies and verifications
 * (RFC 5321 section 4.5.5), and the names that mail systems give themselves where they send a bounce with a sender.
 */
export const isBounceSender = (from: string): boolean => from === '' || /^(mailer-daemon|postmaster)(@|$)/i.test(from)

/** @param mailbox as mailboxOf() returns it @returns '' if it has no domain (postmaster) */
export const domainOf = (mailbox: string): string => {
  const at = mailbox.lastIndexOf('@')
  return at < 0 ? '' : mailbox.slice(at + 1)
}
