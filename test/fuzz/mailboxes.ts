/** Maildirs that are emptied as they are read, so that an hour of mail needs no room. */
import { existsSync, readdirSync, readFileSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { maildir } from '../services/maildir.ts'
import type { Delivered } from './target.ts'

export interface Mailboxes {
  collect(): Delivered[]
}

/** What a server puts on top: lines about the delivery, and one Received line with what it calls the message. */
const TRACE = /^(?:(?!Received:).+\n)*Received: .*\n(?:[ \t].*\n)*/
const ID = /\sid ([\w-]+)/

/** @param root the folder of all maildirs */
export function mailboxesBelow(root: string, recipients: readonly string[]): Mailboxes {
  const folders = recipients.map((recipient) => ({ recipient, folder: join(root, maildir(recipient), 'new') }))
  return {
    collect: () =>
      folders.flatMap(({ recipient, folder }) =>
        list(folder).map((name): Delivered => {
          const text = readFileSync(join(folder, name), 'latin1')
          unlinkSync(join(folder, name))
          const [trace = ''] = TRACE.exec(text) ?? []
          const id = ID.exec(trace)?.[1]
          if (id === undefined) throw new Error(`trace lines without an id: ${JSON.stringify(text.slice(0, 1000))}`)
          return { id, recipient, content: text.slice(trace.length) }
        }),
      ),
  }
}

/** All files below a folder; none where it is not made yet. */
export function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return []
  try {
    const all = readdirSync(folder, { recursive: true, withFileTypes: true })
    return all.filter((entry) => entry.isFile()).map(({ name }) => name)
  } catch {
    // One below it went while it was being read.
    return ['(changing)']
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return [] // It is made at the first delivery.
  }
}
