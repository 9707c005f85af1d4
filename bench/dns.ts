// A name server on loopback that knows every IPv4 address: 127.0.0.9 has the name host-127-0-0-9.example.test, and that
// name has this address. So the names that XCLIENT carries are really looked up, and no query leaves the machine.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'

export interface NameServer {
  readonly port: number
  /** Queries answered so far. */
  answered(): number
  stop(): void
}

const A = 1
const PTR = 12
const TTL_S = 300

export async function startNameServer(): Promise<NameServer> {
  const socket = createSocket('udp4')
  let answered = 0
  socket.on('message', (query, { port, address }) => {
    const answer = reply(query)
    if (answer === undefined) return
    answered++
    socket.send(answer, port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { port: socket.address().port, answered: () => answered, stop: () => socket.close() }
}

/** The answer to a query with one question (RFC 1035 section 4.1); undefined if it is not such a query. */
function reply(query: Buffer): Buffer | undefined {
  const labels: string[] = []
  let at = 12
  for (let length = query[at]; length !== undefined && length > 0; length = query[at]) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length).toLowerCase())
    at += length + 1
  }
  if (at + 5 > query.length) return undefined
  const type = query.readUInt16BE(at + 1)
  const data = type === PTR ? pointer(labels) : type === A ? address(labels) : undefined
  const header = Buffer.alloc(12)
  query.copy(header, 0, 0, 2)
  // A response, recursion available; NXDOMAIN for an unknown name.
  header.writeUInt16BE(data === undefined ? 0x8183 : 0x8180, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(data === undefined ? 0 : 1, 6)
  const question = query.subarray(12, at + 5)
  if (data === undefined) return Buffer.concat([header, question])
  const record = Buffer.alloc(12)
  // The name of the question, as a pointer to it (RFC 1035 section 4.1.4).
  record.writeUInt16BE(0xc00c, 0)
  record.writeUInt16BE(type, 2)
  record.writeUInt16BE(1, 4)
  record.writeUInt32BE(TTL_S, 6)
  record.writeUInt16BE(data.length, 10)
  return Buffer.concat([header, question, record, data])
}

function pointer(labels: readonly string[]): Buffer | undefined {
  if (labels.slice(4).join('.') !== 'in-addr.arpa') return undefined
  const name = [`host-${labels.slice(0, 4).reverse().join('-')}`, 'example', 'test', '']
  return Buffer.concat(name.map((label) => Buffer.from([label.length, ...Buffer.from(label, 'latin1')])))
}

function address(labels: readonly string[]): Buffer | undefined {
  const octets = /^host-(\d+)-(\d+)-(\d+)-(\d+)$/.exec(labels[0] ?? '')?.slice(1)
  return octets && Buffer.from(octets.map(Number))
}
