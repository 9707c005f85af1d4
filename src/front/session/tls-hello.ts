/** Waits for the first record of a TLS handshake, without taking it from the socket (RFC 8446 section 5.1). */
import type { Socket } from 'node:net'

const HANDSHAKE = 22
const HEADER = 5
const LARGEST = 1 << 14

/** Whether OpenSSL has something to do: a whole record, or what is none. */
function isWhole(octets: Buffer): boolean {
  if (octets.length > 0 && octets[0] !== HANDSHAKE) return true
  if (octets.length < HEADER) return false
  const length = octets.readUInt16BE(3)
  return length > LARGEST || octets.length >= HEADER + length
}

/**
 * Calls `arrived` once it is whole. A client that leaves before, or has left while it waited for its place, is gone: its socket is
 * destroyed.
 * @param socket paused, and read by nobody else
 */
export function awaitHello(socket: Socket, arrived: () => void): void {
  if (socket.readableEnded) {
    socket.destroy()
    return
  }
  let octets: Buffer = Buffer.alloc(0)
  const readable = (): void => {
    for (let part: Buffer | null = socket.read(); part !== null; part = socket.read()) {
      octets = octets.length === 0 ? part : Buffer.concat([octets, part])
    }
    if (!isWhole(octets)) return
    socket.off('readable', readable)
    socket.unshift(octets)
    arrived()
  }
  socket.on('readable', readable)
  socket.once('end', () => socket.destroy())
}
