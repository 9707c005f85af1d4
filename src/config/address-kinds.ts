/**
 * The kinds of value that name something on the network: hosts with a port, upstreams, networks, domains, host names, URLs. For
 * what people commonly write instead (a bare port, a URL, an IPv6 address without its brackets) the hint says what to
 * write.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { domainToASCII } from 'node:url'
import { canonical, type Network, parseNetwork } from '../core/ip.ts'
import { type List, type Parsed, type Scalar, scalar } from './kinds.ts'
import { plainList } from './list-kinds.ts'
import { maskLogin } from './masks.ts'

export interface HostPort {
  /** A name or an address; IPv6 without brackets. */
  readonly host: string
  readonly port: number
}

export interface UpstreamAddress extends HostPort {
  /** As the operator wrote it. Logs, metrics and the status page use it as the name of this upstream. */
  readonly label: string
}

const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/i
const isName = (text: string): boolean =>
  text.length <= 253 && text.split('.').every((label) => LABEL.test(label)) && !/(^|\.)\d+$/.test(text)

/** A name or an IPv4 address. */
export const isHost = (text: string): boolean => isIPv4(text) || isName(text)

const bracketed = (host: string): string => (isIPv6(host) ? `[${host}]` : host)

/** @param port the one that hints propose @param lowest 0 where any free port will do */
function parseHostPort(text: string, port: number, lowest: 0 | 1): Parsed<HostPort> {
  if (text.includes('@')) return { hint: 'a host has no user name and no password: leave out what is before the @' }
  const scheme = /^[a-z][a-z0-9+.-]*:\/\//i.exec(text)?.[0]
  if (scheme) return { hint: `write ${text.slice(scheme.length).replace(/\/$/, '')}, without ${scheme}` }
  if (isIPv6(text)) return { hint: `an IPv6 address stands in brackets: write [${text}]:${port}` }
  const [, bare] = /^:?(\d+)$/.exec(text) ?? []
  if (bare !== undefined) return { hint: `which host? write 0.0.0.0:${bare} or 127.0.0.1:${bare}` }
  const [, literal, name, digits] = /^(?:\[([^\]]*)\]|([^:[\]]+))(?::(\d+))?$/.exec(text) ?? []
  const host = literal ?? name
  if (/^\[[^\]]*\]:|^[^:]*:[^:]*$/.test(text) && host === undefined) return { hint: 'a port is a number' }
  if (host === undefined) return { hint: 'an IPv6 address stands in brackets: [2001:db8::1]:25' }
  if (literal !== undefined ? !isIPv6(literal) : !isIPv4(host) && !isName(host)) {
    return { hint: `${literal === undefined ? host : `[${host}]`} is neither a name nor an address` }
  }
  if (digits === undefined) return { hint: `the port is missing: write ${bracketed(host)}:${port}` }
  const number = Number(digits)
  if (number < lowest || number > 65_535) return { hint: `a port is ${lowest} to 65535` }
  return { value: { host, port: number } }
}

const hostPortText = ({ host, port }: HostPort): string => `${bracketed(host)}:${port}`
/** As an operator would write them. */
export const hostPortsText = (all: readonly HostPort[]): string => all.map(hostPortText).join(',')

/** One endpoint to listen on. Port 0 takes any free port. */
export const hostPort = (port: number): Scalar<HostPort> =>
  scalar({
    word: 'host:port',
    what: `host:port, such as 127.0.0.1:${port} or [::1]:${port}`,
    parse: (text) => parseHostPort(text, port, 0),
    show: hostPortText,
  })

export const hostPorts = (port: number): List<readonly HostPort[]> =>
  plainList(hostPort(port), {
    word: 'list of host:port',
    show: hostPortText,
    key: (each) => (each.port === 0 ? undefined : hostPortText(each)),
  })

const upstream: Scalar<UpstreamAddress> = scalar({
  word: 'host:port',
  what: 'a mail server as host:port, such as mail1.example.net:25 or [2001:db8::25]:25',
  parse(text) {
    const parsed = parseHostPort(text, 25, 1)
    return 'value' in parsed ? { value: { label: text, ...parsed.value } } : parsed
  },
  show: ({ label }) => label,
})

export const upstreams: List<readonly UpstreamAddress[]> = {
  ...plainList(upstream, {
    word: 'list of host:port',
    show: upstream.show,
    key: (each) => hostPortText(each).toLowerCase(),
  }),
  mask: maskLogin,
}

const network: Scalar<Network> = scalar({
  word: 'network',
  what: 'an address or a network',
  parse(text) {
    try {
      return { value: parseNetwork(text) }
    } catch (error) {
      return { hint: (error as Error).message }
    }
  },
  show: ({ text }) => text,
})

export const networks: List<readonly Network[]> = plainList(network, {
  word: 'list of addresses and networks',
  empty: 'none',
  show: network.show,
})

/** In lower case, and for an internationalized domain in its ASCII form (RFC 5890), so that it can be compared. */
export const domain: Scalar<string> = scalar({
  word: 'domain',
  what: 'the domain of an address, such as example.net',
  parse(text) {
    const at = text.lastIndexOf('@')
    if (at >= 0) return { hint: `without the part before the @: write ${text.slice(at + 1)}` }
    if (text.includes('*')) return { hint: 'no patterns: list each domain and each subdomain by its name' }
    if (text.endsWith('.')) return { hint: `without the last dot: write ${text.replace(/\.+$/, '')}` }
    const ascii = /[\s/:%?#[\]\\]/.test(text) ? '' : domainToASCII(text.toLowerCase())
    return isName(ascii) ? { value: ascii } : { hint: `${text} is not a domain name` }
  },
  show: (value) => value,
})

export const domains: List<readonly string[]> = plainList(domain, {
  word: 'list of domains',
  empty: 'none',
  show: domain.show,
})

const host: Scalar<string> = scalar({
  word: 'host',
  what: 'a name or an address, such as status.example.net or 192.0.2.25',
  parse(text) {
    const bare = text.replace(/^\[(.*)\]$/, '$1')
    if (isIPv6(bare)) return { value: canonical(bare) }
    if (text.includes('/')) return { hint: `only the host of a URL: write ${text.replace(/^[^/]*\/\/|\/.*$/g, '')}` }
    const port = /^(.+):\d+$/.exec(text)?.[1]
    if (port !== undefined) return { hint: `it applies to every port: write ${port}` }
    return isHost(text) ? { value: text.toLowerCase() } : { hint: `${text} is neither a name nor an address` }
  },
  show: (value) => value,
})

/** Names are in lower case; IPv6 addresses are canonical and without brackets. */
export const hosts: List<readonly string[]> = plainList(host, {
  word: 'list of hosts',
  empty: 'none',
  show: host.show,
})

const dnsServer: Scalar<string> = scalar({
  word: 'address',
  what: 'the address of a DNS server, with a port if it is not 53: 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353',
  parse(text) {
    if (isIP(text)) return { value: text }
    const parsed = parseHostPort(text, 53, 1)
    const isNamed = isName(text) || ('value' in parsed && isIP(parsed.value.host) === 0)
    if (isNamed) return { hint: 'a name will not do here: it would need a DNS server' }
    return 'hint' in parsed ? parsed : { value: text }
  },
  show: (value) => value,
})

/** In the form that `dns.Resolver.setServers` takes; an empty list means those of the system. */
export const dnsServers: List<readonly string[]> = plainList(dnsServer, {
  word: 'list of addresses',
  empty: 'system',
  show: dnsServer.show,
})

/** The name in our greeting: a domain name with a dot, or an address literal (RFC 5321 sections 2.3.5 and 4.1.3). */
export const hostname: Scalar<string> = scalar({
  word: 'host name',
  what: 'a fully qualified name such as mx1.example.net, or an address literal such as [192.0.2.25] or [IPv6:2001:db8::25]',
  parse(text) {
    const literal = /^\[(IPv6:)?(.+)\]$/i.exec(text)
    if (literal?.[2] && (literal[1] ? isIPv6(literal[2]) : isIPv4(literal[2]))) return { value: text }
    if (isIPv4(text)) return { hint: `an address stands in brackets: write [${text}]` }
    const six = text.replace(/^\[|\]$/g, '')
    if (isIPv6(six)) return { hint: `write [IPv6:${six}]` }
    if (text.endsWith('.')) return { hint: `without the last dot: write ${text.replace(/\.+$/, '')}` }
    if (!isName(text)) return { hint: 'letters, digits, hyphens and dots only' }
    const label = text.replaceAll('_', '-')
    return text.includes('.') ? { value: text } : { hint: `${text} has no domain: write ${label}.example.net` }
  },
  show: (value) => value,
})

/** The URL is part of every refusal, and a reply line has 512 octets at most (RFC 5321 section 4.5.3.1.5). */
const LONGEST_URL = 200

export const supportUrl: Scalar<string> = scalar({
  word: 'URL with `{id}`',
  what: 'a URL with {id} in it, such as https://support.example.net/mail/{id}',
  parse(text) {
    const url = URL.parse(text)
    if (url?.protocol !== 'https:' && url?.protocol !== 'http:') return { hint: 'it starts with https:// or http://' }
    if (url.username || url.password) return { hint: 'without name and password: everybody who is refused reads it' }
    if (!/^[\x21-\x7e]+$/.test(text)) return { hint: 'ASCII only, without spaces' }
    if (text.length > LONGEST_URL) return { hint: `at most ${LONGEST_URL} characters: it has to fit into one reply` }
    if (!text.includes('{id}')) return { hint: 'without {id} nobody could say which refusal is meant' }
    const other = text.replaceAll('{id}', '').match(/[{}]/)
    return other ? { hint: 'nothing but {id} can stand in braces' } : { value: text }
  },
  show: (value) => value,
  mask: maskLogin,
})

/** It is asked as it is written, and shown where settings are. */
export const pressureUrl: Scalar<string> = scalar({
  word: 'URL',
  what: 'a URL that answers with numbers, such as http://monitor.example.net/queues.json',
  parse(text) {
    const url = URL.parse(text)
    if (url?.protocol !== 'https:' && url?.protocol !== 'http:') return { hint: 'it starts with https:// or http://' }
    if (url.username || url.password) return { hint: 'without name and password: it is shown wherever settings are' }
    if (!/^[\x21-\x7e]+$/.test(text)) return { hint: 'ASCII only, without spaces' }
    if (/[{}]/.test(text)) return { hint: 'one URL for all mail servers: nothing in it is replaced' }
    return { value: text }
  },
  show: (value) => value,
  mask: maskLogin,
})
