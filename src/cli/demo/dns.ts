/**
 * Answers Spillway's DNS queries in the demo, so that it needs no network. The honest senders have names that resolve
 * both ways; all other addresses have none. It implements just enough of RFC 1035 for PTR and A.
 */
import { createSocket } from 'node:dgram'
import { reverseName } from '../../dns/names.ts'

const HEADER = 12
const TYPE = { A: 1, PTR: 12 }
const TTL_S = 60

export interface NameServer {
  readonly port: number
  stop(): Promise<void>
}

/** A name as length-prefixed labels. */
const encoded = (name: string): Buffer =>
  Buffer.concat([
    ...name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ])

/**
 * @returns the question of a query: its name in lower case, its type, and where it ends; undefined if it is malformed
 */
function question(query: Buffer): { name: string; type: number; end: number } | undefined {
  const labels: string[] = []
  let at = HEADER
  for (let length = query[at]; length !== 0; length = query[at]) {
    if (length === undefined || length > 63 || at + 1 + length >= query.length) return undefined
    labels.push(query.toString('latin1', at + 1, at + 1 + length).toLowerCase())
    at += 1 + length
  }
  if (query.length < at + 5) return undefined
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1), end: at + 5 }
}

/** @param names names by IPv4 address @param port the UDP port; 0 takes any free one */
export async function startNames(names: ReadonlyMap<string, string>, port = 0): Promise<NameServer> {
  const records = new Map<string, Buffer>()
  for (const [ip, name] of names) {
    records.set(`${TYPE.PTR} ${reverseName(ip)}`, encoded(name))
    records.set(`${TYPE.A} ${name}`, Buffer.from(ip.split('.').map(Number)))
  }
  const answerTo = (query: Buffer): Buffer | undefined => {
    const asked = query.length > HEADER ? question(query) : undefined
    if (asked === undefined) return undefined
    const data = records.get(`${asked.type} ${asked.name}`)
    const head = Buffer.alloc(HEADER)
    query.copy(head, 0, 0, 2)
    // A response, authoritative, recursion desired and available; NXDOMAIN where there is no record.
    head.writeUInt16BE(data === undefined ? 0x8583 : 0x8580, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(data === undefined ? 0 : 1, 6)
    const parts = [head, query.subarray(HEADER, asked.end)]
    if (data !== undefined) {
      const record = Buffer.alloc(12)
      record.writeUInt16BE(0xc000 | HEADER, 0)
      record.writeUInt16BE(asked.type, 2)
      record.writeUInt16BE(1, 4)
      record.writeUInt32BE(TTL_S, 6)
      record.writeUInt16BE(data.length, 10)
      parts.push(record, data)
    }
    return Buffer.concat(parts)
  }

  const socket = createSocket('udp4')
  socket.on('message', (query, from) => {
    const answer = answerTo(query)
    if (answer !== undefined) socket.send(answer, from.port, from.address)
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, '127.0.0.1', () => {
      socket.off('error', reject)
      resolve()
    })
  })
  // The resolver asks again for an answer that could not be sent.
  socket.on('error', () => undefined)
  return { port: socket.address().port, stop: () => new Promise((resolve) => socket.close(() => resolve())) }
}
