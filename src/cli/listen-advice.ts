/** What to do about an address that cannot be listened on. */
import { isIPv6 } from 'node:net'
import type { ListenError } from '../app.ts'
import { hostPortsText } from '../config/address-kinds.ts'
import type { PlainSettings } from '../config/settings.ts'
import { holderOf } from './port-holder.ts'

type Failed = Pick<ListenError, 'code' | 'setting' | 'address' | 'port'>

/** What the operator could write instead, on a machine without IPv6. */
function withoutIPv6(setting: ListenError['setting'], { listen, adminListen }: PlainSettings): string {
  if (setting === 'SPILLWAY_ADMIN_LISTEN') return `${setting}=127.0.0.1:${adminListen.port}`
  const usable = listen.filter(({ host }) => !isIPv6(host))
  return `${setting}=${hostPortsText(usable.length > 0 ? usable : listen.map(({ port }) => ({ host: '0.0.0.0', port })))}`
}

const PRIVILEGED = [
  'ports below 1024 need the right to bind them: grant CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit), let the service',
  'manager open the port (spillway.socket), let everybody bind it (sysctl net.ipv4.ip_unprivileged_port_start=25), or choose',
  'another port and redirect this one to it; docs/deploy/one-box.md describes each',
].join(' ')

const FOLDER =
  'the folder of the socket must be there, and the user of Spillway must be able to write into it: with systemd, RuntimeDirectory=spillway'
/** About a socket in the file system. */
const SOCKET_ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another Spillway listens there, or the file is no socket; stop it, or choose another path',
  EACCES: FOLDER,
  ENOENT: FOLDER,
  ENOTDIR: FOLDER,
  EROFS: FOLDER,
}

/** What cannot be listened on, and what to do about it, for the log. */
export async function listenFailure(
  failed: Failed,
  settings: PlainSettings,
): Promise<{ readonly setting: ListenError['setting']; readonly advice: string | undefined }> {
  const { code, setting, address: host, port } = failed
  const isTaken = code === 'EADDRINUSE' && host !== undefined && port !== undefined
  return { setting, advice: adviceOn(failed, settings, isTaken ? await holderOf({ host, port }) : undefined) }
}

const inUse = (holder: string | undefined): string => {
  if (holder === undefined)
    return 'another program listens there already (ss -ltnp shows which); stop it, or choose another port'
  const other = /spillway/i.test(holder) ? ', or take its place with: spillway serve --take-over' : ''
  return `another program listens there already: ${holder}; stop it, or choose another port${other}`
}

/**
 * What to do about an address that cannot be listened on; undefined where the system's message says it all.
 * @param holder the program that has it, where that is known
 */
export function adviceOn(
  { code, setting, address }: Omit<Failed, 'port'>,
  settings: PlainSettings,
  holder?: string,
): string | undefined {
  if (address?.startsWith('/')) return SOCKET_ADVICE[code ?? '']
  switch (code) {
    case 'EADDRINUSE':
      return inUse(holder)
    case 'EACCES':
      return PRIVILEGED
    case 'EINVAL':
      if (setting !== 'LISTEN_FDS') return undefined
      return 'the service manager must pass TCP sockets that listen: ListenStream= with a port, and no Accept=yes'
    case 'EADDRNOTAVAIL':
      if (address !== '::' && address !== '::1')
        return 'this machine has no such address; 0.0.0.0 and [::] stand for all that it has'
      return `IPv6 is switched off on this machine; write ${withoutIPv6(setting, settings)}`
    case 'EAFNOSUPPORT':
      return `this machine has no IPv6; write ${withoutIPv6(setting, settings)}`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return 'the name does not resolve; write an address'
    default:
      return undefined
  }
}
