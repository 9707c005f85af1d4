/**
 * Where Redis is, as one URL: a single server, a set watched by Sentinels, or a cluster. The URL may hold a password,
 * so it is shown only with the password masked, whether it is valid or not.
 */
import { isIPv6 } from 'node:net'
import { type HostPort, hostPortsText, isHost } from './address-kinds.ts'
import { type Kind, type Parsed, type Scalar, scalar } from './kinds.ts'
import { maskRedisUrl } from './masks.ts'

export interface RedisAddress {
  readonly topology: 'single' | 'sentinel' | 'cluster'
  /** The server, the Sentinels, or some nodes of the cluster, through which the others are found. */
  readonly hosts: readonly HostPort[]
  /** The name by which the Sentinels know the set; empty without Sentinels. */
  readonly master: string
  readonly tls: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly db: number
}

const SCHEME = /^(rediss?)(?:\+(sentinel|cluster))?:\/\//
const PORTS = { single: 6379, sentinel: 26_379, cluster: 6379 } as const
const EXAMPLES = 'redis://host:6379, redis+sentinel://h1,h2/master, redis+cluster://h1,h2'

function parseHost(text: string, port: number): Parsed<HostPort> {
  const [, literal, name, digits] = /^(?:\[([^\]]*)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text) ?? []
  const host = literal ?? name
  if (host === undefined || (literal === undefined ? !isHost(host) : !isIPv6(literal))) {
    return {
      hint: 'a host is a name or an address, and its port follows a colon: redis.example.net:6379, [2001:db8::1]:6379',
    }
  }
  const number = Number(digits ?? port)
  return number >= 1 && number <= 65_535 ? { value: { host, port: number } } : { hint: 'a port is 1 to 65535' }
}

/**
 * In a user name or a password, any character other than a letter or digit may be written as %XX (RFC 3986 section
 * 2.1).
 */
function decoded(text: string | undefined): Parsed<string | undefined> {
  try {
    return { value: text === undefined || text === '' ? undefined : decodeURIComponent(text) }
  } catch {
    return { hint: 'in a password % is written %25' }
  }
}

function parseCredentials(text: string): Parsed<Pick<RedisAddress, 'username' | 'password'>> {
  const [, name, secret] = /^([^:]*)(?::(.*))?$/s.exec(text) ?? []
  const username = decoded(name)
  const password = decoded(secret)
  if ('hint' in username) return username
  if ('hint' in password) return password
  if (username.value !== undefined && password.value === undefined) {
    return { hint: 'a password alone is written with a colon before it: redis://:password@host' }
  }
  return { value: { username: username.value, password: password.value } }
}

function parse(text: string): Parsed<RedisAddress> {
  const [scheme, protocol, way] = SCHEME.exec(text) ?? []
  if (scheme === undefined) return { hint: `it begins with redis:// or rediss:// (TLS): ${EXAMPLES}` }
  const topology = (way ?? 'single') as RedisAddress['topology']
  const rest = text.slice(scheme.length)
  const at = rest.lastIndexOf('@')
  const credentials = parseCredentials(at < 0 ? '' : rest.slice(0, at))
  if ('hint' in credentials) return credentials
  const place = rest.slice(at + 1)
  if (/[?#]/.test(place)) return { hint: 'without ? and # (in a password: %3F and %23)' }
  const [authority = '', ...path] = place.replace(/\/$/, '').split('/')
  const hosts: HostPort[] = []
  for (const each of authority.split(',')) {
    const host = parseHost(each, PORTS[topology])
    if ('hint' in host) return host
    hosts.push(host.value)
  }
  if (topology === 'single' && hosts.length > 1) return { hint: 'several hosts: redis+sentinel:// or redis+cluster://' }
  const master = topology === 'sentinel' ? path.shift() : ''
  if (master === undefined || (topology === 'sentinel' && !/^[\w.-]+$/.test(master))) {
    return { hint: 'the name of the master set is missing: redis+sentinel://h1,h2/mymaster' }
  }
  const [db = '0', ...more] = path
  if (more.length > 0 || !/^\d{1,5}$/.test(db)) return { hint: 'a database is a number: redis://host:6379/0' }
  if (topology === 'cluster' && db !== '0') return { hint: 'a cluster has only database 0: leave it out' }
  return {
    value: {
      topology,
      hosts,
      master,
      tls: protocol === 'rediss',
      ...credentials.value,
      db: Number(db),
    },
  }
}

function show({ topology, hosts, master, tls, username, password, db }: RedisAddress): string {
  const scheme = `${tls ? 'rediss' : 'redis'}${topology === 'single' ? '' : `+${topology}`}://`
  const user = password === undefined ? '' : `${encodeURIComponent(username ?? '')}:***@`
  const list = hostPortsText(hosts)
  return `${scheme}${user}${list}${master === '' ? '' : `/${master}`}${db === 0 ? '' : `/${db}`}`
}

export const redisUrl: Scalar<RedisAddress> & Required<Pick<Kind<RedisAddress>, 'mask'>> = Object.assign(
  scalar({ word: 'Redis URL', what: 'the URL of Redis', parse, show }),
  { mask: maskRedisUrl },
)

/** The prefix of every key. Braces are not allowed: they would put all keys of a cluster into one slot. */
export const redisPrefix: Scalar<string> = scalar({
  word: 'prefix',
  what: 'up to 64 letters, digits and any of : . _ -',
  parse: (text) => (/^[\w:.-]{1,64}$/.test(text) ? { value: text } : { hint: 'such as spillway: or mx-east:' }),
  show: (value) => value,
})
