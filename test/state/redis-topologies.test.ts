/** Redis as operators run it: watched by Sentinels, as a cluster, behind TLS, with a user who may do only what is needed. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { expect, test } from '@jest/globals'
import { createKnownRecipients } from '../../src/state/known-recipients.ts'
import { KnownSharing } from '../../src/state/known-sharing.ts'
import { type RedisServer, startRedis, startRedisCluster, startSentinelSet } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { CERT, KEY } from './redis-pem.ts'
import { earlyInWindow, freshClient, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

/** REDIS_TIMEOUT: no client waits longer for Redis, whatever becomes of it. */
const TIMEOUT_MS = 50
/** What the machine that runs the tests may add to that and to the turns this process was late. */
const SLACK_MS = 50
const per = (max: number) => ({ max, windowMs: WINDOW })

async function using(url: string, options: Parameters<typeof startNode>[1], run: (node: TestNode) => Promise<void>) {
  const node = await startNode(url, options)
  try {
    await run(node)
  } finally {
    await node.stop()
  }
}

/**
 * Clients one after the other until `end()`. It says how long the one waited that waited longest, and how late this process came
 * to its turn at most, both in ms: that long an answer or the end of a wait may have lain there.
 */
function serve(node: TestNode) {
  let over = false
  let longest = 0
  let served = 0
  const turns = monitorEventLoopDelay({ resolution: 1 })
  turns.enable()
  const serving = (async () => {
    for (const deadline = performance.now() + 20_000; !over && performance.now() < deadline; ) {
      const started = performance.now()
      await node.tries(freshClient())
      longest = Math.max(longest, performance.now() - started)
      served++
      // The pace of the load.
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  return {
    /** Waits until so many more clients have been served. */
    async more(count: number): Promise<void> {
      const goal = served + count
      await eventually(
        () => served,
        (now) => now >= goal,
      )
    },
    async end() {
      over = true
      await serving
      turns.disable()
      return { longest, late: turns.max / 1e6 }
    },
  }
}

test('Sentinels: the master dies while clients come, and another takes its place', async () => {
  const set = await startSentinelSet()
  try {
    await earlyInWindow(WINDOW, 8000)
    await using(set.url, { rates: { ip_connections: per(10), global_connections: per(100_000) } }, async (node) => {
      const master = await set.master()
      expect(await node.tries(freshClient())).toBe(true)
      const serving = serve(node)
      await master.kill()
      await eventually(
        () => node.limits.shared(),
        (shared) => !shared,
      )
      await eventually(
        () => node.limits.shared(),
        (shared) => shared,
        15_000,
      )
      const { longest, late } = await serving.end()
      expect(longest).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS + late)
      const promoted = await set.master()
      expect(promoted.port).not.toBe(master.port)
      const before = await promoted.call('hget', 'test:l:global_connections:*', 'c')
      await node.tries(freshClient())
      expect(Number(await promoted.call('hget', 'test:l:global_connections:*', 'c'))).toBeGreaterThan(Number(before))
    })
  } finally {
    await set.stop()
  }
}, 30_000)

test.each([
  ['', [] as string[], false],
  [', which serves what is left', ['cluster-require-full-coverage no'], true],
])(
  'a cluster of three masters that loses one%s',
  async (_, config, servesTheRest) => {
    const cluster = await startRedisCluster(config)
    try {
      await earlyInWindow(WINDOW, 8000)
      await using(cluster.url, { rates: { ip_connections: per(5), net_connections: per(50) } }, async (node) => {
        let refused = 0
        for (let i = 0; i < 100; i++) {
          const client = freshClient()
          for (let k = 0; k < 6; k++) if (!(await node.tries(client))) refused++
        }
        expect(refused).toBe(100)
        expect(node.metrics.redisCommands.of('take', 'failed').value).toBe(0)
        // Their keys lie on all three.
        for (const each of cluster.masters) expect(Number(await each.call('dbsize'))).toBeGreaterThan(30)

        const [lost] = cluster.masters as [RedisServer]
        const serving = serve(node)
        await lost.kill()
        const survivors = cluster.masters.slice(1) as [RedisServer, RedisServer]
        await eventually(
          () => survivors[0].call('cluster', 'nodes'),
          (told) => /master,fail /.test(told),
        )
        await serving.more(60)
        const { longest, late } = await serving.end()
        expect(longest).toBeLessThanOrEqual(TIMEOUT_MS + SLACK_MS + late)
        // What is asked of the parts that are left is answered, where the cluster is set up to do so.
        const before = node.metrics.redisCommands.of('take', 'ok').value
        const client = freshClient()
        for (let i = 0; i < 60; i++) await node.tries(freshClient())
        expect(node.metrics.redisCommands.of('take', 'ok').value - before > 20).toBe(servesTheRest)
        // The limit of a client holds, by Redis or by the count of this node.
        let admitted = 0
        for (let k = 0; k < 20; k++) if (await node.tries(client)) admitted++
        expect(admitted).toBe(5)
      })
    } finally {
      await cluster.stop()
    }
  },
  30_000,
)

/** As docs/redis.md has it. */
const ACL =
  'user spillway on >s3cret/@ resetkeys ~spillway:* resetchannels -@all +eval +evalsha +time +hmget +hset +del +pexpire +zadd +zrem +zremrangebyscore +zcard +zrange +info'

test('a user who may do only what is needed, with a password that needs encoding', async () => {
  const redis = await startRedis({
    config: [ACL, 'user admin on >s3cret/@ ~* &* +@all', 'user default off'],
    access: ['--user', 'admin', '--pass', 's3cret/@', '--no-auth-warning'],
  })
  try {
    const url = `redis://spillway:s3cret%2F%40@127.0.0.1:${redis.port}`
    const rates = { ip_connections: per(3), ip_recipients: per(5), unknown_recipients: per(5) }
    await using(url, { rates, prefix: 'spillway:', timeoutMs: 1000 }, async (node) => {
      expect(node.limits.shared()).toBe(true)
      const client = freshClient()
      node.limits.recipient(client, {})
      node.limits.heard(client, 'x@example.net', true)
      for (let i = 0; i < 4; i++) expect(await node.tries(client)).toBe(i < 3)
      await eventually(
        () => node.metrics.redisCommands.of('add', 'ok').value,
        (count) => count >= 3,
      )
      const memory = createKnownRecipients({ now: Date.now })
      memory.heard('u@example.net', 'accepted')
      const sharing = new KnownSharing({
        ...{ memory, client: node.link.client, prefix: 'spillway:', log: node.sink },
        upSince: () => 1,
        elapsed: () => performance.now(),
        watched: (use, answer) => node.limits.watched(use, answer),
      })
      sharing.start()
      await eventually(
        () => redis.call('keys', 'spillway:known:*'),
        (keys) => keys !== '',
      )
      await sharing.stop()
      const { redisCommands } = node.metrics
      for (const use of ['take', 'add', 'nodes', 'probe', 'known'])
        expect([use, redisCommands.of(use, 'failed').value]).toEqual([use, 0])
      expect(redisCommands.of('nodes', 'ok').value).toBeGreaterThan(0)
    })
    // Other keys are out of its reach, and a wrong password opens nothing.
    await Promise.all([
      using(url, { rates, prefix: 'other:' }, async (node) => expect(node.limits.shared()).toBe(false)),
      using(url.replace('s3cret', 'wrong'), { rates }, async (node) => {
        expect(node.limits.shared()).toBe(false)
        expect(node.log.join('\n')).not.toContain('wrong')
      }),
    ])
  } finally {
    await redis.stop()
  }
})

test('TLS, with the certificate verified', async () => {
  const redis = await startRedis({ tls: { cert: CERT, key: KEY } })
  const known = getCACertificates('default')
  try {
    const url = `rediss://localhost:${redis.port}`
    await using(url, { rates: { ip_connections: per(3) } }, async (node) => {
      expect(node.limits.shared()).toBe(false)
      expect(node.log.join('\n')).toContain('connection to Redis failed')
    })
    setDefaultCACertificates([...known, CERT])
    await using(url, { rates: { ip_connections: per(3) }, timeoutMs: 1000 }, async (node) => {
      expect(node.limits.shared()).toBe(true)
      expect(await node.tries(freshClient())).toBe(true)
      expect(node.metrics.redisCommands.of('take', 'ok').value).toBe(1)
    })
  } finally {
    setDefaultCACertificates(known)
    await redis.stop()
  }
})
