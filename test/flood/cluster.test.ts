/** The lab's cluster, as a process, spoken to by the lab's own senders. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterEach, expect, test } from '@jest/globals'
import type { ClusterOrder, ClusterPorts, ClusterReport, ClusterSize } from '../../bench/flood/cluster.ts'
import { MARK, SLOW_MAILBOX, TURNED } from '../../bench/flood/names.ts'
import type { Letter } from '../../src/cli/senders/letter.ts'
import { type Answer, perform, type Visit } from '../../src/cli/senders/visit.ts'

const QUICK: ClusterSize = { perSecond: 1000, workers: 2, places: 10 }
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

interface Cluster {
  readonly port: number
  /** How full its queue is, over HTTP. */
  readonly web: number
  tell(order: ClusterOrder): void
  report(): Promise<ClusterReport>
}

async function begin(size: ClusterSize): Promise<Cluster> {
  const child: ChildProcess = fork(join(import.meta.dirname, '../../bench/flood/cluster.ts'), [JSON.stringify(size)], {
    execArgv: [],
  })
  stops.push(async () => {
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const [{ port, web }] = (await once(child, 'message')) as [ClusterPorts]
  const tell = (order: ClusterOrder): void => {
    child.send(order)
  }
  return {
    ...{ port, web },
    tell,
    async report() {
      const said = once(child, 'message')
      tell({ kind: 'report' })
      return ((await said) as [ClusterReport])[0]
    },
  }
}

const letter = (id: string, to: readonly string[], from = 'a@sender.example'): Letter => ({
  ...{ from, to, bodySize: 1000 },
  header: `X-Flood: ${id}\r\nSubject: x\r\n`,
})

function visit({ port }: Cluster, letters: readonly Letter[], more: Partial<Visit> = {}): Promise<readonly Answer[]> {
  return new Promise((resolve) => {
    const usual = { from: '127.0.0.1', helo: 'a.example', letters, quits: true, patienceMs: 20_000 }
    const socket = perform({ host: '127.0.0.1', port }, { ...usual, ...more }, resolve)
    stops.push(() => socket.destroy())
  })
}

const u = (n: number): string => `u${n}@cluster.example`
const codes = (answers: readonly Answer[]) => answers.map((each) => each.codes)

test('what it took is counted by message and recipient, and what it refused is not', async () => {
  const cluster = await begin(QUICK)
  const found = await visit(cluster, [
    letter('h1', [u(1), 'gone@cluster.example', u(2)]),
    letter('h2', ['gone@cluster.example']),
    letter('h3', ['a@elsewhere.example']),
  ])
  expect(codes(found)).toEqual([[250, 550, 250], [550], [554]])
  for (const { text } of found) expect(text).toContain(MARK)
  // The same message again is there twice.
  await visit(cluster, [letter('h1', [u(1)])])
  const { arrived } = await cluster.report()
  expect(Object.fromEntries(arrived)).toEqual({ [`h1 ${u(1)}`]: 2, [`h1 ${u(2)}`]: 1 })
})

test('half of the spam is recognized at the dot, the same half again, and no honest mail', async () => {
  const cluster = await begin({ ...QUICK, places: 50 })
  const send = async (kind: 'h' | 's') => {
    const letters = Array.from({ length: 200 }, (_, i) => letter(`${kind}${i}`, [u(1)]))
    return codes(await visit(cluster, letters)).flat()
  }
  const spam = await send('s')
  expect(new Set(spam)).toEqual(new Set([250, 550]))
  expect(spam.filter((code) => code === 550).length / 200).toBeCloseTo(0.5, 1)
  expect(await send('s')).toEqual(spam)
  expect(new Set(await send('h'))).toEqual(new Set([250]))
})

test('transactions, dots, and those of the sender that turned bad are counted from the beginning of the load', async () => {
  const cluster = await begin(QUICK)
  await visit(cluster, [letter('h1', [u(1)])])
  cluster.tell({ kind: 'begin' })
  await visit(cluster, [letter('h2', [u(1)]), letter('h3', ['gone@cluster.example']), letter('s1', [u(1)], TURNED)])
  const { begun, dots, turned } = await cluster.report()
  const sum = (counts: readonly number[]) => counts.reduce((all, each) => all + each, 0)
  expect([begun, dots, turned].map(sum)).toEqual([3, 2, 1])
})

test('of each message its sender knows when it was settled and how long that took', async () => {
  const cluster = await begin({ perSecond: 5, workers: 1, places: 10 })
  const began = performance.now()
  const [first, second] = await visit(cluster, [letter('h1', [u(1)]), letter('h2', [u(1)])])
  if (first === undefined || second === undefined) throw new Error('two were sent')
  for (const { tookMs } of [first, second]) expect(tookMs).toBeGreaterThan(190)
  expect(first.atMs).toBeGreaterThan(began)
  expect(second.atMs - first.atMs).toBeCloseTo(second.tookMs, 6)
})

test('beyond its places clients wait for the greeting, and beyond as many again they hear 421', async () => {
  const cluster = await begin({ ...QUICK, places: 2 })
  const held = Array.from({ length: 4 }, () => visit(cluster, [letter('h1', [u(1)])], { hangsAfter: 'helo' }))
  const late = await visit(cluster, [letter('h2', [u(1)])], { patienceMs: 5000 })
  expect(codes(late)).toEqual([[421]])
  expect(late[0]?.text).toContain(MARK)
  expect(held).toHaveLength(4)
})

test('a stall answers nothing, and then everything', async () => {
  const cluster = await begin(QUICK)
  cluster.tell({ kind: 'stall', ms: 700 })
  await cluster.report()
  const began = performance.now()
  expect(codes(await visit(cluster, [letter('h1', [u(1)])]))).toEqual([[250]])
  expect(performance.now() - began).toBeGreaterThan(500)
})

test('while its directory is away everybody is unknown, and then nobody that there is', async () => {
  const cluster = await begin(QUICK)
  cluster.tell({ kind: 'directory', ms: 60_000 })
  await cluster.report()
  const [answer] = await visit(cluster, [letter('h1', [u(1)])])
  expect(answer).toMatchObject({ codes: [550], text: expect.stringContaining('5.1.1'), dotAtMs: undefined })
  cluster.tell({ kind: 'directory', ms: 0 })
  await cluster.report()
  expect(codes(await visit(cluster, [letter('h1', [u(1)])]))).toEqual([[250]])
})

test('a slow mailbox takes its time at the dot, and no worker: the others are as quick as before', async () => {
  const cluster = await begin({ ...QUICK, workers: 1 })
  cluster.tell({ kind: 'mailbox', ms: 1500 })
  await cluster.report()
  const slow = visit(cluster, [letter('h1', [SLOW_MAILBOX])])
  const [other] = await visit(cluster, [letter('h2', [u(1)])])
  const [own] = await slow
  const dotMs = (answer: Answer | undefined): number => (answer?.atMs ?? 0) - (answer?.dotAtMs ?? Number.NaN)
  expect(dotMs(own)).toBeGreaterThan(1400)
  expect(dotMs(other)).toBeLessThan(1000)
})

test('with a queue behind it the dot is quick, and the queue is told over HTTP as a share of what it may hold', async () => {
  const cluster = await begin({ perSecond: 1, workers: 1, places: 10, queue: 10 })
  const letters = Array.from({ length: 20 }, (_, i) => letter(`h${i}`, [u(1)]))
  const began = performance.now()
  expect(new Set(codes(await visit(cluster, letters)).flat())).toEqual(new Set([250]))
  const tookS = (performance.now() - began) / 1000
  // A worker would have taken a second for each.
  expect(tookS).toBeLessThan(10)
  const answer = await fetch(`http://127.0.0.1:${cluster.web}/`)
  const full = ((await answer.json()) as Record<string, number>)[`127.0.0.1:${cluster.port}`] as number
  expect(full).toBeLessThanOrEqual(2)
  expect(full).toBeGreaterThan(2 - (tookS + 2) / 10)
})
