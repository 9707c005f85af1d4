/** Redis as operators run it: watched by Sentinels, as a cluster, behind TLS, with a user who may do only what is needed. */
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { expect, test } from '@jest/globals'
import { createKnownRecipients } from '../../src/state/known-recipients.ts'
import { KnownSharing } from '../../src/state/known-sharing.ts'
import { type RedisServer, startRedis, startRedisCluster, startSentinelSet } from '../services/redis.ts'
import { eventually } from '../support/app.ts'
import { CERT, KEY } from './redis-pem.ts'
import { earlyInWindow, freshClient, startNode, type TestNode, WINDOW } from './shared-nodes.ts'

/** How long the machine that runs the tests, and starts and ends servers meanwhile, may hold up this process. */
const SLACK_MS = 500
const per = (max: number) => ({ max, windowMs: WINDOW })

async function using(url: string, options: Parameters<typeof startNode>[1], run: (node: TestNode) => Promise<void>) {
  const node = await startNode(url, options)
  try {
    await run(node)
  } finally {
    await node.stop()
  }
}

/** Clients one after the other until `end()`, which says for how long `take` held up the process, in ms. */
function serve(node: TestNode) {
  let over = false
  let longest = 0
  let served = 0
  let admitted = 0
  const serving = (async () => {
    for (const deadline = performance.now() + 20_000; !over && performance.now() < deadline; ) {
      const started = performance.now()
      if (node.tries(freshClient())) admitted++
      longest = Math.max(longest, performance.now() - started)
      served++
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  })()
  return {
    admitted: () => admitted,
    /** Resolves when so many more have come. */
    async more(count: number) {
      const enough = served + count
      await eventually(
        () => served,
        (now) => now >= enough,
      )
    },
    async end() {
      over = true
      await serving
      return { longest }
    },
  }
}

test('Sentinels: the master dies while clients come, and another takes its place', async () => {
  const set = await startSentinelSet()
  try {
    await earlyInWindow(WINDOW, 8000)
    await using(set.url, { rates: { ip_connections: per(10), global_connections: per(100_000) } }, async (node) => {
      const master = await set.master()
      expect(node.tries(freshClient())).toBe(true)
      await node.told()
      const serving = serve(node)
      await serving.more(20)
      await master.kill()
      const before = serving.admitted()
      await eventually(
        () => node.limits.shared(),
        (shared) => !shared,
      )
      await eventually(
        () => node.limits.shared(),
        (shared) => shared,
        15_000,
      )
      await serving.more(20)
      const { longest } = await serving.end()
      expect(longest).toBeLessThanOrEqual(SLACK_MS)
      await node.told()
      const promoted = await set.master()
      expect(promoted.port).not.toBe(master.port)
      // It may have missed what the old master acknowledged last. It hears all that came later, and nothing twice.
      const told = Number(await promoted.call('hget', 'test:l:global_connections:*', 'c'))
      const all = 1 + serving.admitted()
      expect(told).toBeGreaterThanOrEqual(all - before)
      expect(told).toBeLessThanOrEqual(all)
      node.tries(freshClient())
      await node.told()
      expect(await promoted.call('hget', 'test:l:global_connections:*', 'c')).toBe(String(told + 1))
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
      await using(cluster.url, { rates: { ip_connections: per(5), net_connections: per(20) } }, async (node) => {
        const { redisCommands } = node.metrics
        let refused = 0
        for (let i = 0; i < 100; i++) {
          const client = freshClient()
          for (let k = 0; k < 6; k++) if (!node.tries(client)) refused++
          if (i % 10 === 9) await node.told()
        }
        expect(refused).toBe(100)
        expect(redisCommands.of('add', 'failed').value).toBe(0)
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
        await serving.more(50)
        const { longest } = await serving.end()
        expect(longest).toBeLessThanOrEqual(SLACK_MS)
        // What is told of the parts that are left is answered, where the cluster is set up to do so.
        const before = { ok: redisCommands.of('add', 'ok').value, failed: redisCommands.of('add', 'failed').value }
        const client = freshClient()
        for (let i = 0; i < 60; i++) node.tries(freshClient())
        await (servesTheRest
          ? eventually(
              () => redisCommands.of('add', 'ok').value - before.ok,
              (count) => count > 20,
            )
          : eventually(
              () => redisCommands.of('add', 'failed').value - before.failed,
              (count) => count >= 60,
            ))
        expect(redisCommands.of('add', 'ok').value - before.ok > 20).toBe(servesTheRest)
        if (!servesTheRest) expect(node.limits.shared()).toBe(false)
        // The limit of a client holds, by Redis or by the count of this node.
        let admitted = 0
        for (let k = 0; k < 20; k++) if (node.tries(client)) admitted++
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
  'user spillway on >s3cret/@ resetkeys ~spillway:* resetchannels -@all +eval +evalsha +time +hmget +hlen +hset +del +pexpire +zadd +zrem +zremrangebyscore +zcard +zrange +info'

test('a user who may do only what is needed, with a password that needs encoding', async () => {
  const redis = await startRedis({
    config: [ACL, 'user admin on >s3cret/@ ~* &* +@all', 'user default off'],
    login: { user: 'admin', password: 's3cret/@' },
  })
  try {
    await earlyInWindow(WINDOW, 8000)
    const url = `redis://spillway:s3cret%2F%40@127.0.0.1:${redis.port}`
    const rates = { ip_connections: per(3), ip_recipients: per(5), unknown_recipients: per(5) }
    await using(url, { rates, prefix: 'spillway:', timeoutMs: 1000 }, async (node) => {
      expect(node.limits.shared()).toBe(true)
      const client = freshClient()
      // In the window before, more nodes than are remembered have counted it.
      const key = `spillway:l:ip_connections:${client.source}`
      const others = Array.from({ length: 250 }, (_, i) => [`n${i}`, '1']).flat()
      await redis.call('hset', key, 'w', String(Math.floor(Date.now() / WINDOW) - 1), 'c', '0', 'p', '0', ...others)
      node.limits.recipient(client, {})
      node.limits.heard(client, 'x@example.net', true)
      for (let i = 0; i < 4; i++) expect(node.tries(client)).toBe(i < 3)
      await node.told()
      expect(node.metrics.redisCommands.of('add', 'ok').value).toBeGreaterThanOrEqual(4)
      expect(await redis.call('hlen', key)).toBe('4')
      expect(await redis.call('hget', key, 'c')).toBe('3')
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
      for (const use of ['add', 'nodes', 'known'] as const)
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
      expect(node.tries(freshClient())).toBe(true)
      await node.told()
      expect(node.metrics.redisCommands.of('add', 'ok').value).toBe(1)
    })
  } finally {
    setDefaultCACertificates(known)
    await redis.stop()
  }
})
