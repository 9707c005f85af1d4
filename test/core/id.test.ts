import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { NODES, nodeNumber, readId, refusalId, sessionIds, writtenId } from '../../src/core/id.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'

const NOW = Date.UTC(2026, 10, 21, 21, 30, 5, 123)

describe('ids', () => {
  test('an id says when, where and why', () => {
    const next = sessionIds(517)
    for (const reason of [...REASON_NAMES, undefined]) {
      const id = refusalId(next(NOW), reason)
      expect(id).toMatch(/^[0-9A-HJKMNP-TV-Z]{13}$/)
      expect(readId(id)).toMatchObject({ at: new Date(Math.floor(NOW / 1000) * 1000), node: 517, reason })
    }
  })

  test('a session id has no reason in it', () => {
    expect(readId(sessionIds(3)(NOW))).toMatchObject({ node: 3, sequence: 1, reason: undefined })
  })

  test('what is written down or spelt wrong is read as what was meant; other texts are no ids', () => {
    expect(readId(writtenId(' (irvl7d46oo503) '))).toEqual(readId('1RV17D4600503'))
    for (const copied of ['1RV17D4600503)', '(1RV17D4600503', '(1RV17D4600503).'])
      expect(writtenId(copied)).toBe('1RV17D4600503')
    expect(readId('1RV17D4600503')).toMatchObject({ reason: 'ip_connections' })
    for (const text of ['', '192.0.2.1', '1RV17D460050', '1RV17D46005ZZ', '1RV17D46005U3'])
      expect(readId(text)).toBeUndefined()
  })

  test('any time and node until 2059 make the round trip', () => {
    const seconds = fc.integer({ min: Date.UTC(2025, 0, 1) / 1000, max: Date.UTC(2058, 11, 31) / 1000 })
    fc.assert(
      fc.property(seconds, fc.integer({ min: 0, max: NODES - 1 }), (second, node) => {
        const read = readId(refusalId(sessionIds(node)(second * 1000), 'denied'))
        expect(read).toEqual({ at: new Date(second * 1000), node, sequence: 1, reason: 'denied' })
      }),
    )
  })

  test('32,768 ids of one second are distinct, and so are those of two nodes', () => {
    const [a, b] = [sessionIds(1), sessionIds(2)]
    const ids = new Set<string>()
    for (let i = 0; i < 32_768; i++) ids.add(a(NOW)).add(b(NOW))
    expect(ids.size).toBe(65_536)
  })

  test('a node has the same number after a restart, and other names have others', () => {
    expect(nodeNumber('mx1.example.net')).toBe(nodeNumber('mx1.example.net'))
    const numbers = Array.from({ length: 20 }, (_, i) => nodeNumber(`mx${i}.example.net`))
    expect(new Set(numbers).size).toBeGreaterThan(17)
    for (const number of numbers) expect(number).toBeGreaterThanOrEqual(0)
    for (const number of numbers) expect(number).toBeLessThan(NODES)
  })
})
