/** Long answers of the admin port are put together once for all who ask at the same time. */
import { expect, test } from '@jest/globals'
import { listing } from '../../src/admin/bans.ts'
import type { Ban } from '../../src/core/bans.ts'
import { SYSTEM_CLOCK } from '../../src/core/clock.ts'
import { startApp } from '../support/app.ts'

const BANS: readonly Ban[] = Array.from({ length: 3000 }, (_, i) => ({
  ...{
    network: `10.0.${i >> 8}.${i & 255}/32`,
    kind: 'ban',
    by: 'operator',
    reason: '"<é>"',
    since: 0,
    until: 1,
    before: 0,
  },
}))
const asking = (limit?: string) => ({ query: new URLSearchParams(limit === undefined ? {} : { limit }) })

test('many who ask for a list at once share one rendering, and each gets as many entries as it asked for', async () => {
  const asked: number[] = []
  const latest = (limit: number) => {
    asked.push(limit)
    return { total: BANS.length, bans: BANS.slice(0, limit) }
  }
  const list = listing({ latest }, 'bans', SYSTEM_CLOCK)
  const limits = ['1', undefined, '2500', '100000', '7']
  const answers = await Promise.all(Array.from({ length: 15 }, (_, i) => list(asking(limits[i % 5]))))
  expect(asked.length).toBeLessThanOrEqual(2)
  for (const [i, { code, body }] of answers.entries()) {
    const want = Math.min(3000, Number(limits[i % 5] ?? 1000))
    const said = JSON.parse(String(body)) as { total: number; bans: unknown[] }
    expect([i, code, said.total, said.bans.length]).toEqual([i, 200, 3000, want])
    expect(String(body)).toBe(`${JSON.stringify(said, null, 2)}\n`)
  }
  expect((await list(asking('0'))).code).toBe(400)
})

test('an empty list, and a list that cannot be had', async () => {
  const empty = await listing({ latest: () => ({ total: 0, bans: [] }) }, 'allowed', SYSTEM_CLOCK)(asking())
  expect(empty.body).toBe(`${JSON.stringify({ total: 0, allowed: [] }, null, 2)}\n`)
  const failing = listing({ latest: () => Promise.reject(new Error('no worker answers')) }, 'bans', SYSTEM_CLOCK)
  await expect(failing(asking())).rejects.toThrow('no worker answers')
})

test('a burst of questions for the status costs a few renderings, and the answer is no older than the question', async () => {
  const app = await startApp('127.0.0.1:1')
  try {
    const burst = await Promise.all(Array.from({ length: 12 }, () => app.get('/api/v1/status')))
    expect(new Set(burst.map(({ body }) => body)).size).toBeLessThanOrEqual(4)
    const client = await app.client()
    await client.reply()
    expect(JSON.parse((await app.get('/api/v1/status')).body)).toMatchObject({ connectionsOpen: 1 })
  } finally {
    await app.stop()
  }
})
