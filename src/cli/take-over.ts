/**
 * Takes over from a Spillway that runs on the same addresses: asks it, through its admin port, to give up that port and
 * to end when its sessions have.
 */
import { readFileSync } from 'node:fs'
import { hostPortsText } from '../config/address-kinds.ts'
import type { PlainSettings } from '../config/settings.ts'
import { messageOf } from '../core/errors.ts'
import type { Log } from '../telemetry/log.ts'
import { type Answer, askNode } from './ask-node.ts'

const LONGEST_MS = 10_000
/** Of an answer, in characters. */
const LONGEST_TOLD = 200
/** Whether Linux hands the connections that wait at a socket, or begin there, to another one on the same address when it is closed. */
const MIGRATE = '/proc/sys/net/ipv4/tcp_migrate_req'

/** Those that begin within a round trip before the other one closes its sockets; it takes all that wait (front/gate/listener.ts). */
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
    'connections whose handshake is under way when the other Spillway closes its sockets are reset: set net.ipv4.tcp_migrate_req=1 (sysctl)',
  )
}

/** Resolves when the other one has let go of its ports, or if there is none. Rejects if it does not. */
export async function takeOver(settings: PlainSettings, log: Log): Promise<void> {
  const at = hostPortsText([settings.adminListen])
  warnOfResets(log)
  let answer: Answer
  try {
    answer = await askNode(settings, { method: 'POST', path: '/api/v1/handover', longestMs: LONGEST_MS })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED')
      throw new Error(`the Spillway at ${at} cannot be asked to hand over: ${messageOf(error)}`)
    log.info({ at }, 'there is no Spillway to take over from')
    return
  }
  const { status, body } = answer
  if (status !== 202) throw new Error(`${at} does not hand over: ${status} ${body.trim().slice(0, LONGEST_TOLD)}`)
  log.info({ at }, 'the Spillway before this one has handed over, and ends when its sessions have')
}
