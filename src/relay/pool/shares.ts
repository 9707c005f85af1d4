/** How many of the connections to the mail servers may be held: by strangers together, by those of one neighbourhood, and by one source. Pure. */
import { strangersMost } from '../../overload/reserve.ts'
import { shareOf } from './fairness.ts'
import type { Server } from './server.ts'

/** Slots at all servers that are up. @param max the most connections to a server */
export function connectionsOf(servers: readonly Server[], max: (server: Server) => number): number {
  let all = 0
  for (const server of servers) if (server.up) all += max(server)
  return all
}

/**
 * Connections that strangers hold, of those that count: what hangs at a server that is down, or that has fewer connections by now,
 * takes nothing from what they may hold at the others. @param max the most connections to a server
 */
export function heldByStrangers(servers: readonly Server[], max: (server: Server) => number): number {
  let held = 0
  for (const server of servers) if (server.up) held += Math.min(server.strangers.held, max(server))
  return held
}

/** Whether strangers hold all connections that the reserve leaves them. */
export const areFull = (servers: readonly Server[], max: (server: Server) => number, reserve: number): boolean =>
  heldByStrangers(servers, max) >= strangersMost(connectionsOf(servers, max), reserve)

/** Connections to a server that strangers may hold. @param max the most to it @param reserve the share that is kept for friends */
export function ofStrangers({ strangers }: Server, max: number, reserve: number): number {
  if (reserve === 0) return max
  const left = strangersMost(max, reserve)
  return Math.min(left, strangers.most ?? left)
}

/** Connections that strangers may not hold although the reserve leaves them to them, because they slow down known senders. */
export function withheld(servers: readonly Server[], max: (server: Server) => number, reserve: number): number {
  let all = 0
  if (reserve === 0) return all
  for (const server of servers) {
    if (server.up) all += strangersMost(max(server), reserve) - ofStrangers(server, max(server), reserve)
  }
  return all
}

/** How many connections strangers of one neighbourhood may hold at the least. */
const LEAST_OF_NET = 2

/**
 * Whether the strangers of a neighbourhood hold half of what all other strangers leave of their part, as with seats (state/seats.ts). A flood from
 * one /24, every address new to it, raises no level (overload/pressure.ts); here is what it may take. Where nothing is kept for friends, as
 * on a first day, there is no part, and one provider may have all.
 * @param ofNet connections that they hold
 */
export function isCrowd(
  ofNet: number,
  servers: readonly Server[],
  max: (server: Server) => number,
  reserve: number,
): boolean {
  if (reserve === 0 || ofNet < LEAST_OF_NET) return false
  let part = 0
  for (const server of servers) if (server.up) part += ofStrangers(server, max(server), reserve)
  const ofOthers = heldByStrangers(servers, max) - ofNet
  return ofNet >= Math.floor((part - ofOthers) / 2)
}

/** The share of all slots that is reserved for sources that have less than their share. */
const RESERVE = 0.1

/** Whether the slots that are free are for sources with less. @param held slots of the source that asks @param room those that are free, of `all` */
export function isLeftForOthers(of: {
  readonly held: number
  readonly room: number
  readonly all: number
  readonly sources: number
}): boolean {
  const reserve = Math.floor(of.all * RESERVE)
  return of.room <= reserve && of.held >= shareOf(of.all - reserve, Math.max(2, of.sources))
}
