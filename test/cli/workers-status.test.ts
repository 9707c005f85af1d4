/** What a node with several workers tells of its overload level and its traffic. */
import { expect, test } from '@jest/globals'
import type { OverloadStatus, Status } from '../../src/admin/status.ts'
import { statusOf } from '../../src/cli/workers/status.ts'
import { REMEMBERED } from '../../src/core/client.ts'
import { recordOf } from '../../src/core/record.ts'

const PARENT = {
  version: '0',
  node: 'mx',
  uptimeSeconds: 1,
  settings: { hash: 'x', needsRestart: [] },
  draining: false,
}
const clients = recordOf(REMEMBERED, () => 0)
const worker = (number: number, overload: Partial<OverloadStatus>) => ({
  ...{ worker: number, pid: number, up: true, restarts: 0 },
  report: {
    sessions: 0,
    pastDot: 0,
    status: {
      ready: true,
      connectionsOpen: 0,
      upstreams: [],
      clients,
      overload,
      settings: PARENT.settings,
    } as unknown as Status,
  },
})

test('it is that of the worker with the highest level, and among equals of the one that is pressed most', () => {
  const workers = [
    worker(1, { level: 1, pressure: 9, signal: 'memory' }),
    worker(2, { level: 3, pressure: 0.5, signal: 'event_loop' }),
    worker(3, { level: 3, pressure: 1.3, signal: 'connections' }),
  ]
  expect(statusOf(PARENT, workers).overload).toEqual({ level: 3, pressure: 1.3, signal: 'connections' })
})

test('it is absent while no worker has answered', () => {
  expect(statusOf(PARENT, [{ worker: 1, pid: 1, up: false, restarts: 0, report: undefined }])).not.toHaveProperty(
    'overload',
  )
})

test('the traffic of all workers is added, and a mail server is as slow as the worker says that finds it slowest', () => {
  const minutes = { connections: [1], shed: [], messages: [], deferred: [], known: [], known_shed: [] }
  const refused = { reason: 'denied', result: 'for_good', lastTenMinutes: 1, lastHour: 2, latest: '192.0.2.7' }
  const traffic = {
    ...{ minutes: { ...minutes, known_refused: [1], senders: [] }, hoursLearnt: 2 },
    ...{ top: { network: [], helo: [], domain: [] }, reasons: [], knownRefused: [refused] },
  }
  const upstream = { upstream: 'mail1', address: 'mail1:25', up: true, connections: 1, limit: 2 }
  const own = (number: number, status: object) => {
    const made = worker(number, {})
    return { ...made, report: { ...made.report, status: { ...made.report.status, ...status } as Status } }
  }
  const all = [
    own(1, { traffic, upstreams: [{ ...upstream, dotSeconds: 9 }] }),
    own(2, { traffic, upstreams: [{ ...upstream, dotSeconds: 1 }], observing: ['helo'] }),
    own(3, { upstreams: [upstream] }),
  ]
  expect(statusOf(PARENT, all)).toMatchObject({
    traffic: {
      ...{ minutes: { connections: [2], known_refused: [2] }, hoursLearnt: 2 },
      knownRefused: [{ reason: 'denied', lastTenMinutes: 2, lastHour: 4, latest: '192.0.2.7' }],
    },
    observing: ['helo'],
    upstreams: [{ upstream: 'mail1', connections: 3, limit: 6, dotSeconds: 9 }],
  })
})
