/** A DNS server on a loopback port that answers from a table: A, AAAA and PTR, enough to confirm a client's name. */
import { createSocket } from 'node:dgram'

/**
 * `name type` in lower case, as in `7.100.51.198.in-addr.arpa ptr`: the values. `servfail`: the server says it cannot
 * tell; `silence`: nothing at all. What is not there does not exist.
 */
export type Zone = Readonly<Record<string, readonly string[] | 'servfail' | 'silence'>>

export interface DnsServer {
  /** ip:port, as SPILLWAY_DNS_SERVERS has it. */
  readonly address: string
  /** What was asked, as `name type`. */
  readonly asked: string[]
  zone: Zone
  /** Answers come under another number than that of the question. */
  forges: boolean
  /** How long an answer takes, in milliseconds. */
  delayMs: number
  stop(): Promise<void>
}

const TYPES: Readonly<Record<number, string>> = { 1: 'a', 12: 'ptr', 28: 'aaaa' }

/** The name under which an IPv4 address has its PTR. */
export const reverseName = (ip: string): string => `${ip.split('.').reverse().join('.')}.in-addr.arpa`

export async function startDns(zone: Zone = {}): Promise<DnsServer> {
  const socket = createSocket('udp4')
  let isOpen = true
  const server = { zone, forges: false, delayMs: 0, asked: [] as string[] }
  socket.on('message', (query, from) => {
    const { name, type, end } = readQuestion(query)
    const question = `${name} ${TYPES[type] ?? type}`
    server.asked.push(question)
    const found = server.zone[question]
    if (found === 'silence') return
    const exists = Object.keys(server.zone).some((key) => key.startsWith(`${name} `))
    const code = found === 'servfail' ? 2 : exists ? 0 : 3
    const records = Array.isArray(found) ? (found as string[]) : []
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    if (server.forges) head.writeUInt16BE(query.readUInt16BE(0) ^ 1, 0)
    head.writeUInt16BE(0x8180 | code, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records.length, 6)
    const answer = Buffer.concat([head, query.subarray(12, end), ...records.map((each) => record(type, each))])
    const send = (): void => void (isOpen && socket.send(answer, from.port, from.address))
    if (server.delayMs === 0) send()
    else setTimeout(send, server.delayMs).unref()
  })
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve))
  return Object.assign(server, {
    address: `127.0.0.1:${socket.address().port}`,
    stop() {
      isOpen = false
      return new Promise<void>((resolve) => socket.close(() => resolve()))
    },
  })
}

function readQuestion(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  while (query[at] !== 0) {
    const length = query[at] as number
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += length + 1
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}

/** An answer about the name of the question (RFC 1035 section 4.1.4: a pointer to it). */
function record(type: number, value: string): Buffer {
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(1, 4)
  const data =
    type !== 12
      ? octets(value)
      : Buffer.concat([
          ...value.split('.').map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1')),
          Buffer.from([0]),
        ])
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

/** The bytes of an address; of IPv6 with at most one `::`. */
function octets(ip: string): Buffer {
  if (!ip.includes(':')) return Buffer.from(ip.split('.').map(Number))
  const [head = [], tail = []] = ip.split('::').map((part) => part.split(':').filter((group) => group !== ''))
  const zeros = new Array<string>(8 - head.length - tail.length).fill('0')
  return Buffer.from([...head, ...zeros, ...tail].map((group) => group.padStart(4, '0')).join(''), 'hex')
}
