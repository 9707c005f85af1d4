/** Who is counted as refused early, and which bots are on the lab's list; and a bot that is hasty on the wire. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, test } from '@jest/globals'
import { Meetings, reasonIn, recordsOf, ZONE } from '../../bench/flood/early.ts'
import { populationOf } from '../../bench/flood/population.ts'
import { botsOf } from '../../src/cli/senders/bot.ts'
import { perform, type Refused, type Visit } from '../../src/cli/senders/visit.ts'
import { refusalId } from '../../src/core/id.ts'
import { REASON_NAMES } from '../../src/core/reasons.ts'

test.each(REASON_NAMES)('%s is told from the id of its refusal', (reason) => {
  expect(reasonIn(`554 5.7.1 Refused (${refusalId('3MFK2D0R9A0', reason)})`)).toBe(reason)
})
test('a reply of the cluster has no reason of ours', () => {
  expect(reasonIn('550 5.1.1 nobody (cluster)')).toBeUndefined()
  expect(reasonIn(`550 5.1.1 nobody (${refusalId('3MFK2D0R9A0', undefined)})`)).toBeUndefined()
})

test('visits are counted as all that a client is, by their first refusal', () => {
  const meetings = new Meetings()
  const by = (at: Refused['at'], reason: (typeof REASON_NAMES)[number]): Refused => ({
    ...{ at, text: `5 (${refusalId('3MFK2D0R9A0', reason)})` },
  })
  meetings.count(['bots'], by('helo', 'helo'))
  meetings.count(['bots', 'again'], by('rcpt', 'dnsbl'))
  meetings.count(['bots'], { at: 'rcpt', text: '550 nobody (cluster)' })
  meetings.count(['bots'], undefined)
  expect(meetings.all).toEqual({
    bots: { visits: 4, beforeMail: 1, beforeRcpt: 2, reasons: { helo: 1, dnsbl: 1, 'the cluster': 1 } },
    again: { visits: 1, beforeMail: 0, beforeRcpt: 1, reasons: { dnsbl: 1 } },
  })
})

test('half of the bots are listed, and of four in five all of them again; half of the established senders have a name', () => {
  const scale = 0.01
  const population = populationOf({ seed: 1, scale })
  const listed = (share: number) => recordsOf(population, share, scale).filter((each) => each.includes(ZONE))
  const count = [...botsOf(scale)].length
  expect(listed(0)).toEqual([`2.0.0.127.${ZONE}. A 127.0.0.2`])
  expect((listed(0.5).length - 1) / count).toBeCloseTo(0.5, 1)
  expect((listed(0.8).length - 1) / count).toBeCloseTo(0.8, 1)
  expect(new Set(listed(0.8))).toEqual(new Set([...listed(0.8), ...listed(0.5)]))
  const names = recordsOf(population, 0, scale).filter((each) => each.includes(' PTR '))
  expect(names.length).toBeGreaterThan(population.count / 3)
})

test('a hasty bot says MAIL together with EHLO, once; one that thinks says it later', async () => {
  const heard: string[][] = []
  const server = createServer((socket) => {
    const pieces: string[] = []
    heard.push(pieces)
    socket.write('220 x\r\n')
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      pieces.push(chunk.toString('latin1'))
      const verbs = chunk.toString('latin1').match(/^(EHLO|MAIL|RCPT|RSET|QUIT)/gm) ?? []
      for (const verb of verbs) socket.write(verb === 'RCPT' ? '554 no\r\n' : '250 ok\r\n')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const letter = { from: 'a@a.example', to: ['u@x.example'], header: '', bodySize: 10 }
  const usual: Visit = { from: '127.0.0.1', helo: 'b', letters: [letter, letter], quits: true, patienceMs: 5000 }
  try {
    for (const more of [{ isHasty: true }, { thinksMs: 1 }]) {
      const refused = await new Promise<Refused | undefined>((resolve) => {
        perform({ host: '127.0.0.1', port }, { ...usual, ...more }, (_, first) => resolve(first))
      })
      expect(refused).toEqual({ at: 'rcpt', text: '554 no' })
    }
    expect(heard[0]?.[0]).toBe('EHLO b\r\nMAIL FROM:<a@a.example>\r\n')
    for (const each of heard) expect(each.join('').match(/^MAIL/gm)).toHaveLength(2)
    expect(heard[1]?.[0]).toBe('EHLO b\r\n')
  } finally {
    server.close()
  }
})
