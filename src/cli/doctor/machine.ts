/** What the kernel of this machine sets bounds to, and whether its clock is kept right. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import type { Loaded } from '../../config/load.ts'
import { within } from '../../core/deadline.ts'
import type { Budget, Findings } from './finding.ts'
import { kernelOffload } from './kernel.ts'
import type { RunningNode } from './node.ts'

/** What front/gate/listener.ts asks for. */
const BACKLOG = 4096
const COMMAND_MS = 2500
/** Of the connections that the firewall can track. */
const MUCH = 0.7

export async function aboutMachine(
  { settings, judged }: Loaded,
  found: Findings,
  budget: Budget,
  node: Promise<RunningNode | undefined>,
): Promise<void> {
  const offload = within(kernelOffload(settings, found), budget.left(COMMAND_MS), () => undefined)
  await Promise.all([somaxconn(found), conntrack(found), clock(found, budget), nft(found, budget), offload])
  const warning = judged.find(({ about }) => about === 'open files')
  const told = await node
  const of = told?.openFiles === undefined ? '' : `; a process of the node that runs may have ${told.openFiles}`
  if (warning === undefined) found.ok('open files', `there is room for all connections${of}`)
  else found.warn('open files', `${warning.what}${of}`, `${warning.cure} (systemd: LimitNOFILE=)`)
}

const numberIn = async (path: string): Promise<number | undefined> => {
  const text = await readFile(path, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : Number(text)
}

async function somaxconn(found: Findings): Promise<void> {
  const most = await numberIn('/proc/sys/net/core/somaxconn')
  if (most === undefined) found.ok('somaxconn', 'cannot be seen here')
  else if (most >= BACKLOG) found.ok('somaxconn', String(most))
  else
    found.warn(
      'somaxconn',
      `${most}: so few connections wait for us in a flood before the kernel drops more`,
      `sysctl -w net.core.somaxconn=${BACKLOG}, and the same in /etc/sysctl.d`,
    )
}

async function conntrack(found: Findings): Promise<void> {
  const base = '/proc/sys/net/netfilter/nf_conntrack'
  const [count, most] = await Promise.all([numberIn(`${base}_count`), numberIn(`${base}_max`)])
  if (count === undefined || most === undefined) return
  if (count < MUCH * most) found.ok('conntrack', `the firewall tracks ${count} of at most ${most} connections`)
  else
    found.warn(
      'conntrack',
      `the firewall tracks ${count} of at most ${most} connections; at the end it drops every new one`,
      'raise net.netfilter.nf_conntrack_max, or do not track port 25 (notrack); docs/deploy/sizing.md says how',
    )
}

/** What a program prints; undefined where it is not there, fails or hangs. */
const printed = (command: string, args: readonly string[], budget: Budget): Promise<string | undefined> =>
  new Promise((resolve) => {
    execFile(command, args, { timeout: budget.left(COMMAND_MS), maxBuffer: 1 << 20 }, (error, out) =>
      resolve(error === null ? out : undefined),
    )
  })

async function clock(found: Findings, budget: Budget): Promise<void> {
  const out = await printed('timedatectl', ['show', '--property=NTPSynchronized', '--value'], budget)
  const says = out?.trim()
  if (says === 'yes') found.ok('clock', 'NTP keeps it right')
  else if (says === 'no')
    found.warn(
      'clock',
      'NTP does not keep it',
      'run chronyd or systemd-timesyncd: bans, limits in Redis and certificates go by the clock',
    )
  else
    found.ok(
      'clock',
      `it is ${new Date().toISOString()}; whether NTP keeps it cannot be seen from here: look at chronyc tracking`,
    )
}

/** A redirection of port 25 is a rule of nftables; without the rights to see it nothing is told. */
async function nft(found: Findings, budget: Budget): Promise<void> {
  const rules = await printed('nft', ['list', 'ruleset'], budget)
  if (rules === undefined) return found.ok('nft', 'its rules cannot be seen from here (no nft, or not its user)')
  const [rule] = rules
    .split('\n')
    .filter((each) => /dport \{?[^}]*\b25\b/.test(each) && /redirect|dnat|drop|reject|limit/.test(each))
  found.ok('nft', rule === undefined ? 'no rule for port 25' : `for port 25: ${rule.trim()}`)
}
