/** The last table of docs/faults.md, played: an upstream that does not keep to the protocol. */
import { expect, test } from '@jest/globals'
import { play } from './faults-play.ts'
import { REPLIES, type ReplyRow } from './faults-replies.ts'
import type { Step } from './faults-table.ts'

const cells = REPLIES.flatMap((row) => row.at.map((step): [string, Step, ReplyRow] => [row.saying.what, step, row]))

const check = async (_: string, step: Step, { saying, seen }: ReplyRow): Promise<void> => {
  expect(await play({ side: 'upstream', step, fault: saying, failover: false })).toMatchObject(seen)
}
const isInPieces = ([, , { saying }]: (typeof cells)[number]): boolean => saying.pieces !== undefined

test.concurrent.each(cells.filter((cell) => !isInPieces(cell)))('R12 R14 R33 R44 %s, at: %s', check)
// By themselves, behind the others: each piece takes a turn of the event loop, which they would share with four others.
test.each(cells.filter(isInPieces))('R12 R14 R33 R44 %s, at: %s', check)
