/** The last sessions that were turned away: what is kept of them, and what pushes out what. */
import { expect, test } from '@jest/globals'
import type { Client, Standing } from '../../src/core/client.ts'
import { refusal } from '../../src/core/policy.ts'
import { RecentRefusals } from '../../src/front/recent-refusals.ts'
import { SessionRecord } from '../../src/front/session-record.ts'

const all = () => true
const same = (text: string): string => text
const REFUSED = refusal('ip_connections', { used: 3, max: 2 })
let made = 0
/** @param fields of the record, such as how far the client got */
function note(
  recent: RecentRefusals,
  standing: Standing,
  elapsed: number,
  fields: Partial<SessionRecord> = {},
): string {
  const id = String(made++).padStart(11, '0')
  const record = Object.assign(new SessionRecord(0), { refusal: REFUSED, ...fields })
  recent.note(record, { id, ip: '192.0.2.1', standing } as Client, elapsed, same)
  return id
}
const idsIn = (recent: RecentRefusals): string[] => recent.find(all, 10_000).map(({ id }) => id)

test('a flood of strangers pushes out nobody else, and leaves the first of each second', () => {
  const recent = new RecentRefusals()
  const friend = note(recent, 'known', 0)
  const sender = note(recent, 'new', 0, { from: 'a@b.example' })
  const first = Array.from({ length: 4 }, () => note(recent, 'new', 0))
  for (let i = 0; i < 100_000; i++) note(recent, i % 2 === 0 ? 'new' : 'banned', 10_000)
  expect(idsIn(recent)).toHaveLength(2 + 4 + 4)
  expect(idsIn(recent)).toEqual(expect.arrayContaining([friend, sender, ...first]))
  for (let second = 11; second < 2000; second++) for (let i = 0; i < 20; i++) note(recent, 'suspect', second * 1000)
  expect(idsIn(recent)).toHaveLength(2 + 1024)
  expect(idsIn(recent)).toEqual(expect.arrayContaining([friend, sender]))
})

test('each ring has its bound, and the latest come first', () => {
  const recent = new RecentRefusals()
  let last = ''
  for (let i = 0; i < 5000; i++) last = note(recent, 'seen', i * 1000)
  for (let i = 0; i < 5000; i++) note(recent, 'new', i * 1000, { from: '' })
  for (let i = 0; i < 5000; i++) note(recent, 'new', i * 1000)
  expect(idsIn(recent)).toHaveLength(4096)
  expect(recent.find(({ standing }) => standing === 'seen', 3)[0]?.id).toBe(last)
  expect(recent.find(({ standing }) => standing === 'seen', 3)).toHaveLength(3)
})

test('what was not turned away is not kept, and what others have said is clipped and escaped', () => {
  const recent = new RecentRefusals()
  note(recent, 'known', 0, { refusal: undefined })
  expect(idsIn(recent)).toEqual([])
  note(recent, 'known', 0, {
    refusal: undefined,
    helo: `a\u001b[2J\u202e${'x'.repeat(1000)}`,
    upstreamSaid: { upstream: 'mail:25', reply: '550 a\r\nb' },
  })
  const [entry] = recent.find(all, 1)
  expect(entry?.helo).toMatch(/^a\\u001b\[2J\\u202ex{144}$/)
  expect(entry?.refusedBy).toEqual({ upstream: 'mail:25', reply: '550 a\\u000d b' })
})
