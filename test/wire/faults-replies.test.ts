/** The last table of docs/faults.md, played: an upstream that does not keep to the protocol. */
import { expect, test } from '@jest/globals'
import { play } from './faults-play.ts'
import { REPLIES, type ReplyRow } from './faults-replies.ts'
import type { Step } from './faults-table.ts'

const cells = REPLIES.flatMap((row) => row.at.map((step): [string, Step, ReplyRow] => [row.saying.what, step, row]))

test.concurrent.each(cells)('R12 R14 R33 R44 %s, at: %s', async (_, step, { saying, seen }) => {
  expect(await play({ side: 'upstream', step, fault: saying, failover: false })).toMatchObject(seen)
})
