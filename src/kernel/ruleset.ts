/**
 * The table in the words of nft(8), and what nft says of it.
 *
 * The rules see each packet before connection tracking does (priority raw), so that a dropped one costs next to nothing. What comes to
 * another port that the kernel redirects to ours shows only at `input`, so there they are asked again. Only packets that open a connection
 * to an address of ours are looked up: a session that is open is never cut. They are dropped and not answered: an answer costs a packet of
 * ours for each of theirs, can be drawn to others by a forged source, and lets a bot go on at once.
 *
 * Sets are hashes of whole sources. An interval set of 100,000 networks would take nft seconds to load, and as long again for each
 * element that is added later (docs/kernel-offload.md).
 */
import { createHash } from 'node:crypto'
import { isIPv6 } from 'node:net'
import { KERNEL_REASONS, type KernelReason } from '../core/kernel.ts'
import { type Changes, type Held, MOST_HELD } from './kernel-sets.ts'

/** An address that clients connect to. */
export interface Listening {
  readonly host: string
  readonly port: number
}

/** The kernel keeps what is over until it tidies up, every ten seconds. */
const SIZE = 2 * MOST_HELD

const HOOKS = ['prerouting priority raw', 'input priority filter - 10'] as const
const FAMILIES = [4, 6] as const
const setOf = (reason: KernelReason, family: 4 | 6): string => `${reason}${family}`

/** The same for all processes that listen there, one after the other, and another for those that listen elsewhere. */
export function tableName(listening: readonly Listening[]): string {
  const all = listening.map(({ host, port }) => `${host} ${port}`).sort()
  const hash = createHash('sha256').update(all.join('\n')).digest('hex')
  return `spillway_${listening[0]?.port ?? 0}_${hash.slice(0, 8)}`
}

/** Makes the table anew, in place of one that is there, in one transaction. */
export function creation(table: string, listening: readonly Listening[], held: readonly Held[], at: number): string {
  const lines = [
    `add table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    ...KERNEL_REASONS.map((reason) => ` counter ${reason} { }`),
    ...FAMILIES.flatMap((family) =>
      KERNEL_REASONS.map(
        (reason) =>
          ` set ${setOf(reason, family)} { type ipv${family}_addr; flags timeout; size ${SIZE}; gc-interval 10s; }`,
      ),
    ),
    ' chain opening {',
    ...KERNEL_REASONS.flatMap((reason) => [
      `  ip saddr @${setOf(reason, 4)} counter name ${reason} drop`,
      `  ip6 saddr and ffff:ffff:ffff:ffff:: @${setOf(reason, 6)} counter name ${reason} drop`,
    ]),
    ' }',
    ...HOOKS.flatMap((hook) => [
      ` chain ${hook.replace(/ .*/, '')} {`,
      `  type filter hook ${hook}; policy accept;`,
      '  tcp flags & (fin | syn | rst | ack) != syn accept',
      ...listening.map((each) => `  ${toUs(each)} jump opening`),
      ' }',
    ]),
    '}',
    ...additions(table, held, at),
  ]
  return `${lines.join('\n')}\n`
}

function toUs({ host, port }: Listening): string {
  if (host === '::') return `tcp dport ${port} fib daddr type local`
  if (host === '0.0.0.0') return `meta nfproto ipv4 tcp dport ${port} fib daddr type local`
  const [address = ''] = host.split('%')
  return `${isIPv6(address) ? 'ip6' : 'ip'} daddr ${address} tcp dport ${port}`
}

/** @returns '' for no changes */
export function changing(table: string, { removed, added }: Changes, at: number): string {
  const lines = [...removals(table, removed), ...additions(table, added, at)]
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}

function additions(table: string, held: readonly Held[], at: number): string[] {
  const timed = ({ element, until }: Held): string => `${element} timeout ${Math.max(1, Math.round(until - at))}ms`
  return perSet(held, (set, all) => [`add element inet ${table} ${set} { ${all.map(timed).join(', ')} }`])
}

/** To delete what has ended meanwhile would fail, and the whole batch with it: so it is added first, which is nothing for what is there. */
function removals(table: string, held: readonly Held[]): string[] {
  return perSet(held, (set, all) => [
    `add element inet ${table} ${set} { ${all.map(({ element }) => `${element} timeout 60s`).join(', ')} }`,
    `delete element inet ${table} ${set} { ${all.map(({ element }) => element).join(', ')} }`,
  ])
}

function perSet(held: readonly Held[], write: (set: string, all: readonly Held[]) => string[]): string[] {
  const sets = Map.groupBy(held, ({ reason, family }) => setOf(reason, family))
  return [...sets].flatMap(([set, all]) => write(set, all))
}

/** What nft lists of a table. */
export interface Listing {
  /** No other table of this network namespace has it, before or after. */
  readonly handle: number
  /** Packets since the table was made. */
  readonly packets: Readonly<Record<KernelReason, number>>
}

interface Item {
  readonly table?: { readonly handle: number }
  readonly counter?: { readonly name: string; readonly packets: number }
}

/** @param json of `nft --json --terse list table` @throws Error if it is none */
export function listingOf(json: string): Listing {
  const items = (JSON.parse(json) as { nftables: readonly Item[] }).nftables
  const handle = items.find(({ table }) => table !== undefined)?.table?.handle
  if (handle === undefined) throw new Error('nft lists no table')
  const packetsOf = (reason: KernelReason): number =>
    items.find(({ counter }) => counter?.name === reason)?.counter?.packets ?? 0
  return { handle, packets: { banned: packetsOf('banned'), denied: packetsOf('denied') } }
}
