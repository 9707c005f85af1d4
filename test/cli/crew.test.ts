/** Reloads while workers die and start: real workers, and a parent that is asked at the moments that matter. */
import { execFileSync } from 'node:child_process'
import { link, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test } from '@jest/globals'
import { Crew } from '../../src/cli/workers/crew.ts'
import { hashOf, type Reading, readingOf } from '../../src/config/reload.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { createParentMetrics } from '../../src/telemetry/parent-metrics.ts'
import { loadWith } from '../config/given.ts'
import { CERT, KEY } from '../config/pem.ts'
import { eventually } from '../support/app.ts'
import { connectClient } from '../support/client.ts'
import { startUpstream } from '../support/upstream.ts'

const readingWith = (
  deny: string,
  more: Readonly<Record<string, string>> = {},
  files?: Readonly<Record<string, string>>,
): Reading =>
  readingOf(
    loadWith(
      {
        SPILLWAY_LISTEN: '127.0.0.1:0',
        SPILLWAY_UPSTREAMS: '127.0.0.1:9',
        SPILLWAY_LOG_LEVEL: 'fatal',
        SPILLWAY_DENY: deny,
        ...more,
      },
      files,
    ),
  )
const before = readingWith('192.0.2.1')
const after = readingWith('192.0.2.2')

let crew: Crew
let port: number
afterEach(() => crew.abort())

async function start(sockets: readonly number[] = [], reading = before): Promise<void> {
  crew = new Crew({
    ...{ reading, of: 2, number: 1, sockets, version: '0', machine: 'test', listenIsDefault: false },
    ticketKey: undefined,
    metrics: createParentMetrics(['1', '2']),
    log: createLog({ level: 'fatal', destination: 1 }),
  })
  const [bound] = await crew.start()
  port = bound?.port as number
}

const workers = async () => (await crew.ask(false)).workers
const pidOf = async (worker: number) => (await workers())[worker - 1]?.pid as number
const inForce = async () => (await workers()).map(({ report }) => report?.status.settings.hash)
const second = (isSo: (worker: Awaited<ReturnType<typeof workers>>[number]) => boolean) =>
  eventually(workers, ([, worker]) => worker !== undefined && isSo(worker))

test('a worker that begins to serve while another one tries the settings has them, too', async () => {
  await start()
  const [first, dying] = [await pidOf(1), await pidOf(2)]
  process.kill(dying, 'SIGKILL')
  await second(({ pid, up }) => pid !== dying && !up)
  process.kill(first, 'SIGSTOP')
  const applied = crew.apply(after)
  await second(({ up }) => up)
  process.kill(first, 'SIGCONT')
  await applied
  expect(await inForce()).toEqual([hashOf(after), hashOf(after)])
}, 20_000)

test('a worker that is not there when another one has taken the settings does not make half a reload of it', async () => {
  await start()
  // Each time it is started later.
  for (let i = 0; i < 4; i++) {
    const pid = await pidOf(2)
    process.kill(pid, 'SIGKILL')
    await second((worker) => worker.pid !== pid && worker.up)
  }
  const first = await pidOf(1)
  process.kill(first, 'SIGSTOP')
  const applied = crew.apply(after)
  process.kill(await pidOf(2), 'SIGKILL')
  await second(({ pid }) => pid === undefined)
  process.kill(first, 'SIGCONT')
  await applied
  await second(({ up }) => up)
  expect(await inForce()).toEqual([hashOf(after), hashOf(after)])
}, 20_000)

test('limits that are enough only for the workers after a restart are not taken before it', async () => {
  await start()
  const fewer = readingWith('192.0.2.2', { SPILLWAY_WORKERS: '1', SPILLWAY_LIMIT_IP_CONCURRENCY: '1' })
  await expect(crew.apply(fewer)).rejects.toThrow(
    'SPILLWAY_LIMIT_IP_CONCURRENCY: 1 is too little for 2 workers, which are in force until a restart changes SPILLWAY_WORKERS',
  )
  expect(await inForce()).toEqual([hashOf(before), hashOf(before)])
})

test('a worker whose certificates take long to read is waited for: it serves meanwhile', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'spillway-crew-'))
  try {
    await start()
    const pids = [await pidOf(1), await pidOf(2)]
    const [cert, key, pipe] = [join(folder, 'cert'), join(folder, 'key'), join(folder, 'pipe')]
    await writeFile(key, KEY)
    // Whoever opens a pipe waits until somebody writes, as if the mount were slow.
    execFileSync('mkfifo', [pipe])
    await link(pipe, cert)
    const files = { SPILLWAY_TLS_CERT: cert, SPILLWAY_TLS_KEY: key }
    const applied = crew.apply(readingWith('192.0.2.2', files, { [cert]: CERT, [key]: KEY }))
    // Longer than one that says nothing is waited for: that nothing happens takes its time to see.
    await sleep(6500)
    await rm(cert)
    await writeFile(cert, CERT)
    await writeFile(pipe, CERT)
    await applied
    expect([await pidOf(1), await pidOf(2)]).toEqual(pids)
    expect(new Set(await inForce()).has(hashOf(before))).toBe(false)
  } finally {
    await rm(folder, { recursive: true })
  }
}, 20_000)

test('where the system has no process for a worker, the others go on, and it is tried again', async () => {
  const sockets: number[] = []
  await start(sockets)
  const pid = await pidOf(2)
  // Node throws for what is no file descriptor, as it does when there is no memory for a process.
  sockets.push('none' as unknown as number)
  process.kill(pid, 'SIGTERM')
  const [, dead] = await second(({ restarts }) => restarts >= 3)
  expect(dead?.pid).toBeUndefined()
  // It is not tried without a pause.
  expect(dead?.restarts).toBeLessThan(8)
  sockets.pop()
  await second(({ up }) => up)
})

test('what is reported of a mail server reaches every worker', async () => {
  const upstream = await startUpstream()
  try {
    await start(
      [],
      readingWith('none', {
        SPILLWAY_UPSTREAMS: upstream.address,
        SPILLWAY_UPSTREAM_CLIENT_IP: 'none',
        SPILLWAY_RELAY_GUARD: 'off',
      }),
    )
    crew.reported({ upstream: upstream.address, value: 0.5 })
    const fullest = { upstream: upstream.address, pressure: 0.5 }
    for (const at of [0, 1]) {
      const { report } = await eventually(
        async () => (await workers())[at]!,
        (worker) => worker.report?.status.overload?.fullest !== undefined,
      )
      expect(report?.status.overload?.fullest).toEqual(fullest)
    }
  } finally {
    await upstream.stop()
  }
})

test('what the operator says reaches every worker, and one that takes the place of another begins with it', async () => {
  const upstream = await startUpstream()
  try {
    const settings = { SPILLWAY_UPSTREAMS: upstream.address, SPILLWAY_UPSTREAM_CLIENT_IP: 'none' }
    await start([], readingWith('none', { ...settings, SPILLWAY_RELAY_GUARD: 'off', SPILLWAY_OVERLOAD: 'off' }))
    crew.orders.give({ drainedSince: 1, drained: [upstream.address], pin: { mode: 3, until: Date.now() + 60_000 } })
    const seen = async () =>
      (await workers()).map(({ report }) => {
        const { drainedSince, upstreams, overload, ready } = report?.status ?? {}
        return [ready, drainedSince, upstreams?.[0]?.state, overload?.level]
      })
    const obeyed = [false, '1970-01-01T00:00:00.001Z', 'drained', 3]
    await eventually(seen, (all) => JSON.stringify(all) === JSON.stringify([obeyed, obeyed]))
    process.kill(await pidOf(2), 'SIGKILL')
    await second(({ restarts, up }) => restarts === 1 && up)
    expect(await seen()).toEqual([obeyed, obeyed])
    crew.orders.give({ drainedSince: undefined, drained: [], pin: undefined })
    await eventually(seen, (all) => all.every(([ready, , state, level]) => ready && state === 'up' && level === 0))
  } finally {
    await upstream.stop()
  }
})

test('feedback finds the worker that relayed the message; of an address every worker hears', async () => {
  const upstream = await startUpstream({
    script: (verb) => (verb === 'DOT' ? '250 2.0.0 Ok: queued as 4XyZ' : 'default'),
  })
  try {
    const settings = { SPILLWAY_UPSTREAMS: upstream.address, SPILLWAY_UPSTREAM_CLIENT_IP: 'none' }
    await start([], readingWith('none', { ...settings, SPILLWAY_RELAY_GUARD: 'off', SPILLWAY_OVERLOAD: 'off' }))
    const client = await connectClient(port)
    await client.hello()
    expect(await client.send('a@example.org', 'b@example.net')).toMatch(/^250/)
    client.destroy()
    const spam = { of: { queueId: '4XyZ' }, verdict: 'spam' } as const
    const source = '127.0.0.1'
    expect(await crew.feedback(spam)).toEqual({ source, standing: 'new', learnt: true })
    expect(await crew.feedback({ ...spam, of: { queueId: 'another' } })).toBeUndefined()
    const address = '192.0.2.1'
    for (let i = 0; i < 2; i++) await crew.feedback({ of: { address }, verdict: 'spam' })
    const suspects = (await workers()).map(({ report }) => report?.status.clients.suspect)
    expect(suspects).toEqual([1, 1])
  } finally {
    await upstream.stop()
  }
})
