/**
 * Takes over from a Spillway that runs on the same addresses: asks it, through its admin port, to give up that port and
 * to end when its sessions have.
 */
import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import type { PlainSettings } from '../config/settings.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'

const LONGEST_MS = 10_000
/** Whether Linux hands the connections that wait at a socket to another one on the same address when it is closed. */
const MIGRATE = '/proc/sys/net/ipv4/tcp_migrate_req'

/** Only in the moment in which the other one closes its sockets; in a flood there may be some dozens. */
function warnOfResets(log: Log): void {
  let setting: string
  try {
    setting = readFileSync(MIGRATE, 'utf8').trim()
  } catch {
    setting = 'unknown'
  }
  if (setting === '1') return
  log.warn(
    { 'net.ipv4.tcp_migrate_req': setting },
    'connections that wait in the kernel when the other Spillway closes its sockets are reset: set net.ipv4.tcp_migrate_req=1 (sysctl)',
  )
}

/** It answers on any of its own addresses. */
const reachable = (host: string): string => (host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host)

/** Resolves when the other one has let go of its ports, or if there is none. Rejects if it does not. */
export async function takeOver({ adminListen, adminToken }: PlainSettings, log: Log): Promise<void> {
  const host = reachable(adminListen.host)
  const url = `http://${isIPv6(host) ? `[${host}]` : host}:${adminListen.port}/api/v1/handover`
  warnOfResets(log)
  let response: Response
  try {
    response = await fetch(url, {
      method: 'POST',
      signal: AbortSignal.timeout(LONGEST_MS),
      ...(adminToken !== undefined && { headers: { Authorization: `Bearer ${adminToken}` } }),
    })
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    if (cause?.code !== 'ECONNREFUSED') throw new Error(`${url} does not answer: ${messageOf(cause ?? error)}`)
    log.info({ url }, 'there is no Spillway to take over from')
    return
  }
  const answer = await response.text()
  if (response.status !== 202) throw new Error(`${url} does not hand over: ${response.status} ${answer.trim()}`)
  log.info({ url }, 'the Spillway before this one has handed over, and ends when its sessions have')
}
