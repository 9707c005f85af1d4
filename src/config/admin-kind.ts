/** Where the admin port is: HOST:PORT, and beside it a socket in the file system if one is wanted: 127.0.0.1:9025,unix:/run/spillway/admin.sock. */
import { type HostPort, hostPort, hostPortsText } from './address-kinds.ts'
import { type Parsed, type Scalar, scalar } from './kinds.ts'

export interface AdminAddress extends HostPort {
  /** The path of a Unix domain socket. */
  readonly socket?: string
}

const UNIX = 'unix:'
/** Octets that the kernel has room for (unix(7)), without the one that ends them. */
const LONGEST_PATH = 107

function pathIn(text: string): Parsed<string> {
  const path = text.slice(UNIX.length)
  if (!/^\/[!-~]*[^/]$/.test(path))
    return { hint: 'after unix: stands the whole path of a socket, such as /run/spillway/admin.sock' }
  if (path.length > LONGEST_PATH) return { hint: `the path of a socket has at most ${LONGEST_PATH} characters` }
  return { value: path }
}

export function adminAddress(port: number): Scalar<AdminAddress> {
  const tcp = hostPort(port)
  return scalar<AdminAddress>({
    word: 'host:port, and unix:/path',
    what: `${tcp.what}, and a socket beside it if one is wanted: 127.0.0.1:${port},unix:/run/spillway/admin.sock`,
    parse(text) {
      const parts = text.split(',').map((part) => part.trim())
      const sockets = parts.filter((part) => part.startsWith(UNIX))
      const others = parts.filter((part) => !part.startsWith(UNIX))
      if (sockets.length > 1) return { hint: 'one socket only' }
      if (others.length === 0)
        return { hint: `probes and Prometheus need a port as well: write 127.0.0.1:${port},${sockets[0]}` }
      if (others.length > 1) return { hint: 'one host:port only' }
      const at = tcp.parse(others[0] as string)
      if (sockets[0] === undefined || 'hint' in at) return at
      const path = pathIn(sockets[0])
      return 'hint' in path ? path : { value: { ...at.value, socket: path.value } }
    },
    show: ({ socket, ...at }) => `${hostPortsText([at])}${socket === undefined ? '' : `,${UNIX}${socket}`}`,
  })
}
