// Maildirs of real servers: the name of a recipient's, and what was delivered there.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'

export const DOMAIN = 'example.test'

/** The maildir of a recipient, below the folder of all of them. */
export const maildir = (recipient: string) => `${encodeURIComponent(recipient.toLowerCase())}/`

/** The domains a server takes mail for: its recipients', what it is told, and DOMAIN. */
export function ownDomains(recipients: readonly string[], domains: readonly string[]): string[] {
  const theirs = recipients.map((recipient) => recipient.slice(recipient.lastIndexOf('@') + 1).toLowerCase())
  return [...new Set([DOMAIN, ...theirs, ...domains])]
}

/** The names of the messages in a maildir; none where the server has not made it yet. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(join(folder, 'new'))
  } catch {
    return []
  }
}

export const countMaildir = (folder: string): number => namesIn(folder).length

/** The messages in a maildir, oldest first. */
export function readMaildir(folder: string): Buffer[] {
  const found = namesIn(folder).map((name) => ({
    path: join(folder, 'new', name),
    time: deliveredAt(join(folder, 'new'), name),
  }))
  return found.sort((a, b) => a.time - b.time).map(({ path }) => readFileSync(path))
}

/**
 * When a message was delivered, in microseconds. Postfix and Exim begin its name with the second and have the
 * microseconds in it (`.V…I…M<µs>`, `.H<µs>P…`); of OpenSMTPD's only the file can tell them.
 */
function deliveredAt(folder: string, name: string): number {
  const micros = /^\d+\.(?:[^.]*M|H)(\d+)/.exec(name)?.[1]
  return micros === undefined
    ? Number(statSync(join(folder, name), { bigint: true }).mtimeNs / 1000n)
    : Number(name.split('.')[0]) * 1e6 + Number(micros)
}
