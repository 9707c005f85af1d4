/** The last sessions: what is kept of them, as which kind, and what pushes out what. */
import { expect, test } from '@jest/globals'
import type { Client, Standing } from '../../src/core/client.ts'
import type { KeptKind, KeptSession } from '../../src/core/kept-session.ts'
import { refusal } from '../../src/core/policy.ts'
import { AT_ONCE, ONE_MORE_MS } from '../../src/front/network-shares.ts'
import { RecentSessions } from '../../src/front/recent-sessions.ts'
import { SessionRecord } from '../../src/front/session-record.ts'

const all = () => true
const shown = (text: string) => ({ text })
const REFUSED = refusal('ip_connections', { used: 3, max: 2 })

interface Scene {
  readonly recent: RecentSessions
  readonly kept: { readonly kind: KeptKind; readonly session: KeptSession; readonly sender: string | undefined }[]
  /** @param fields of the record, such as how far the client got */
  note(standing: Standing, elapsed: number, fields?: Partial<SessionRecord>, ip?: string): string
  ids(): string[]
}
function scene(): Scene {
  const kept: Scene['kept'] = []
  const recent = new RecentSessions({
    ...{ host: 'mx', seed: 7 },
    kept: (kind, session, sender) => void kept.push({ kind, session, sender }),
  })
  let made = 0
  return {
    ...{ recent, kept },
    note(standing, elapsed, fields = {}, ip = `10.${(made >> 8) & 255}.${made & 255}.1`) {
      const id = String(made++).padStart(11, '0')
      const record = Object.assign(new SessionRecord(0), { refusal: REFUSED, ...fields })
      recent.note(record, { id, ip, standing } as Client, elapsed, shown)
      return id
    },
    ids: () => recent.find(all, 10_000).map(({ id }) => id),
  }
}

test('a flood of strangers pushes out nobody else, and leaves the first of each second, with the weight of the others', () => {
  const { note, ids, kept } = scene()
  const friend = note('known', 0)
  const sender = note('new', 0, { from: 'a@b.example' })
  const first = Array.from({ length: 4 }, () => note('new', 0))
  for (let i = 0; i < 100_000; i++) note(i % 2 === 0 ? 'new' : 'banned', 10_000)
  expect(ids()).toHaveLength(2 + 4 + 4)
  expect(ids()).toEqual(expect.arrayContaining([friend, sender, ...first]))
  note('new', 11_000)
  const { session } = kept.at(-1)!
  expect(session.sample).toBe(100_000 - 4 + 1)
  for (let second = 12; second < 2000; second++) for (let i = 0; i < 20; i++) note('suspect', second * 1000)
  expect(ids()).toHaveLength(2 + 1024)
  expect(ids()).toEqual(expect.arrayContaining([friend, sender]))
})

test('each kind has its bound', () => {
  const { note, ids, recent } = scene()
  let last = ''
  for (let i = 0; i < 5000; i++) {
    note('known', i * 1000)
    last = note('seen', i * 1000)
    note('new', i * 1000, { from: '' })
    note('new', i * 1000)
    note('new', i * 1000, { refusal: undefined, accepted: true })
  }
  expect(ids()).toHaveLength(4 * 1024 + 512)
  expect(recent.find(({ standing }) => standing === 'seen', 3)[0]?.id).toBe(last)
  expect(recent.find(({ standing }) => standing === 'seen', 3)).toHaveLength(3)
})

test.each<[Standing, Partial<SessionRecord>]>([
  ['known', {}],
  ['seen', {}],
  ['new', { from: 'a@b.example' }],
])('one network takes its share of what is kept whole of %s clients, and others what they need', (standing, fields) => {
  const { note, kept } = scene()
  const count = (): number => kept.filter(({ kind }) => kind !== 'sampled').length
  for (let i = 0; i < 1000; i++) note(standing, i * 100, fields, `192.0.2.${i % 250}`)
  expect(count()).toBe(AT_ONCE)
  note(standing, 100_000, fields, '198.51.100.1')
  expect(count()).toBe(AT_ONCE + 1)
  note(standing, ONE_MORE_MS + 1, fields, '192.0.2.9')
  note(standing, ONE_MORE_MS + 2, fields, '192.0.2.9')
  expect(count()).toBe(AT_ONCE + 2)
})

test.each<[KeptKind, Standing, Partial<SessionRecord>]>([
  ['known', 'trusted', {}],
  ['plausible', 'new', { from: '' }],
  ['sampled', 'new', {}],
  ['sampled', 'suspect', { from: 'a@b.example' }],
  ['sampled', 'new', { from: 'a@b.example', isBroken: true }],
  ['sampled', 'new', { from: 'a@b.example', offences: new Set(['helo'] as const) }],
  ['served', 'suspect', { refusal: undefined, observed: new Set(['helo'] as const) }],
])('as %s: %s with %j', (kind, standing, fields) => {
  const { note, kept } = scene()
  note(standing, 0, fields)
  expect(kept).toMatchObject([{ kind }])
})

test('where nothing was turned away and no mail came nothing is kept, and what others have said is clipped and escaped', () => {
  const { note, ids, recent, kept } = scene()
  note('known', 0, { refusal: undefined })
  expect(ids()).toEqual([])
  note('known', 0, {
    refusal: undefined,
    helo: `a\u001b[2J\u202e${'x'.repeat(1000)}`,
    from: 'A@b.example',
    upstreamSaid: { upstream: 'mail:25', reply: '550 a\r\nb' },
  })
  const [entry] = recent.find(all, 1)
  expect(entry?.helo).toMatch(/^a\\u001b\[2J\\u202ex{144}$/)
  expect(entry?.refusedBy).toEqual({ upstream: 'mail:25', reply: '550 a\\u000d b' })
  expect(kept[0]?.sender).toBe('a@b.example')
})
