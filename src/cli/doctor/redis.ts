/**
 * Whether Redis answers, how fast, which it is, and whether it lets us do what a node does: a script that writes one key under our
 * prefix, which expires after a second. Only commands that the user of docs/redis.md may use are sent.
 */
import { randomBytes } from 'node:crypto'
import { hostPortsText } from '../../config/address-kinds.ts'
import type { PlainSettings } from '../../config/settings.ts'
import { within } from '../../core/deadline.ts'
import { connectRedis, type RedisClient, redisMessageOf } from '../../state/redis.ts'
import type { Budget, Findings } from './finding.ts'

const CONNECT_MS = 4000
const COMMAND_MS = 2000
const SAMPLES = 9
const SKEW_MS = 2000
const SCRIPT = `redis.call('HSET', KEYS[1], 'doctor', '1') redis.call('PEXPIRE', KEYS[1], 1000) return redis.call('TIME')`

export async function aboutRedis(settings: PlainSettings, found: Findings, budget: Budget): Promise<void> {
  const { redisUrl: address, redisPrefix, redisTimeout } = settings
  if (address === undefined) return found.ok('redis', 'not used: each node counts and remembers for itself')
  const at = hostPortsText(address.hosts)
  let why: string | undefined
  const note = ({ err }: { readonly err?: unknown }, msg: string): void => {
    why = `${msg}: ${String(err)}`
  }
  const log = { debug: note, info: note, warn: note, error: note, flush: () => undefined }
  const link = connectRedis({ address, timeoutMs: COMMAND_MS, log })
  try {
    const ready = new Promise<true>((resolve) => link.onReady(() => resolve(true)))
    if ((await within(ready, budget.left(CONNECT_MS), () => false)) === false)
      return found.fail('redis', `${at} cannot be used: ${why ?? 'it does not answer'}`, cureOf(why))
    await latency(link.client, redisTimeout, found, budget)
    await scripts(link.client, redisPrefix, found, budget)
    await about(link.client, found, budget)
  } finally {
    await link.close()
  }
}

function cureOf(why = ''): string {
  if (/NOAUTH|WRONGPASS|AUTH/.test(why)) return 'correct the user and the password in SPILLWAY_REDIS_URL'
  if (/ENOTFOUND|EAI_AGAIN/.test(why)) return 'correct the host in SPILLWAY_REDIS_URL, or the DNS'
  if (/certificate|TLS|SSL/i.test(why))
    return 'rediss:// is for a Redis that speaks TLS; NODE_EXTRA_CA_CERTS names a CA of your own'
  return 'start Redis, or correct SPILLWAY_REDIS_URL; without it each node keeps to its share of the limits'
}

const asked = <T>(answer: Promise<T>, budget: Budget): Promise<T> => within(answer, budget.left(COMMAND_MS))

async function latency(client: RedisClient, timeoutMs: number, found: Findings, budget: Budget): Promise<void> {
  const times: number[] = []
  let skew = 0
  try {
    for (let i = 0; i < SAMPLES; i++) {
      const begun = performance.now()
      const told = await asked(client.time(), budget)
      const ms = performance.now() - begun
      times.push(ms)
      skew = Number(told[0]) * 1000 + Math.floor(Number(told[1]) / 1000) - (Date.now() - ms / 2)
    }
  } catch (error) {
    return found.fail(
      'latency',
      `TIME is not answered: ${redisMessageOf(error)}`,
      'give its user the rights of docs/redis.md, or see its log',
    )
  }
  times.sort((a, b) => a - b)
  const [median, worst] = [times[Math.floor(SAMPLES / 2)] as number, times.at(-1) as number]
  const words = `${median.toFixed(1)} ms (the slowest of ${SAMPLES}: ${worst.toFixed(1)} ms); SPILLWAY_REDIS_TIMEOUT is ${timeoutMs} ms`
  if (median > timeoutMs)
    found.fail('latency', words, 'it counts as away like this: bring Redis nearer, or raise SPILLWAY_REDIS_TIMEOUT')
  else if (median > timeoutMs / 2) found.warn('latency', words, 'bring Redis nearer, or raise SPILLWAY_REDIS_TIMEOUT')
  else found.ok('latency', words)
  const seconds = (skew / 1000).toFixed(1)
  if (Math.abs(skew) > SKEW_MS)
    found.warn(
      'clock',
      `the clock of Redis is ${seconds} s from that of this machine`,
      'let NTP keep both (chronyd, systemd-timesyncd)',
    )
  else found.ok('clock', `that of Redis and that of this machine are ${Math.abs(Number(seconds)).toFixed(1)} s apart`)
}

async function scripts(client: RedisClient, prefix: string, found: Findings, budget: Budget): Promise<void> {
  const key = `${prefix}doctor:${randomBytes(8).toString('hex')}`
  try {
    await asked(client.eval(SCRIPT, 1, key), budget)
    found.ok('scripts', 'they run, and may write under SPILLWAY_REDIS_PREFIX')
  } catch (error) {
    const why = redisMessageOf(error)
    const cure = /NOPERM/.test(why)
      ? 'give its user the rights of docs/redis.md'
      : /OOM/.test(why)
        ? 'Redis is full: raise its maxmemory, or find who fills it'
        : /READONLY/.test(why)
          ? 'this is a replica: name the master, or the Sentinels, in SPILLWAY_REDIS_URL'
          : 'see the log of Redis'
    found.fail('scripts', `a script that writes one key fails: ${why}`, cure)
  }
}

async function about(client: RedisClient, found: Findings, budget: Budget): Promise<void> {
  let info: string
  try {
    info = await asked(client.info(), budget)
  } catch (error) {
    return found.warn(
      'version',
      `it does not tell (INFO: ${redisMessageOf(error)})`,
      'give its user +info, as docs/redis.md has it',
    )
  }
  const field = (name: string): string | undefined => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const version = field('redis_version') ?? ''
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 6 || (major === 6 && minor >= 2)) found.ok('version', version)
  else found.fail('version', `${version || 'unknown'} is older than 6.2`, 'install Redis 6.2 or later')
  const policy = field('maxmemory_policy')
  const isFull = Number(field('maxmemory') ?? 0) > 0
  if (policy === undefined)
    return found.warn('eviction', 'it does not tell its policy', 'CONFIG SET maxmemory-policy noeviction')
  if (policy === 'noeviction') return found.ok('eviction', 'noeviction')
  found.warn(
    'eviction',
    `${policy}: ${isFull ? 'when it is full' : 'once it is given a maxmemory'} it throws away counts, bans and what is known of clients, unseen`,
    'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf',
  )
}
