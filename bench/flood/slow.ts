// Clients that are slow (S7). In commands: each third says nothing, and the others type an octet a second from their first command
// on. In DATA: they send an envelope as others do, and then the text by octets. Whoever is disconnected comes back.

import { connect, type Socket } from 'node:net'
import { botAddress } from '../../src/cli/senders/bot.ts'
import { DOMAIN } from './names.ts'
import type { World } from './world.ts'

const COMMANDS = ['EHLO s', 'MAIL FROM:<a@b>', `RCPT TO:<u1@${DOMAIN}>`, 'DATA']
const TYPED = `${COMMANDS.join('\r\n')}\r\n`
/** All have come within this. */
const COMING_S = 8
const TYPING_MS = 1000
/** Whoever is disconnected comes back after so long, in wall time: what it types is in wall time, too. */
const BACK_MS = 30_000
/** They take turns, so that the octets of a second are spread over it. */
const TURNS = 50

interface Client {
  socket: Socket
  typed: number
}

export class SlowClients {
  readonly #world: World
  readonly #sockets: Set<Socket>
  readonly #typing: Client[][] = Array.from({ length: TURNS }, () => [])
  readonly #most: number
  #come = 0
  #turn = 0
  #timer: NodeJS.Timeout | undefined

  constructor(world: World, sockets: Set<Socket>) {
    this.#world = world
    this.#sockets = sockets
    this.#most = Math.round((world.scenario.slow?.clients ?? 0) * world.scale)
  }

  /** @param seconds since the last call */
  tick(seconds: number): void {
    const { slow } = this.#world.scenario
    if (slow === undefined || this.#world.now() < slow.atS * 1000) return
    this.#timer ??= setInterval(() => this.#type(), TYPING_MS / TURNS)
    const due = Math.ceil((this.#most * seconds) / COMING_S)
    for (let i = 0; i < due && this.#come < this.#most; i++) {
      const number = this.#come++
      const commands = slow.in === 'DATA' ? COMMANDS.length : 0
      this.#connect(number, slow.in === 'commands' && number % 3 === 0 ? undefined : commands)
    }
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** @param commands how many it sends at once, before it types; undefined: it says nothing at all */
  #connect(number: number, commands: number | undefined): void {
    if (!this.#world.hasRoom()) return
    const port = this.#world.ports[this.#world.anyPort()] as number
    const socket = connect({ host: '127.0.0.1', port, localAddress: botAddress(number, this.#world.scale) })
    const client: Client = { socket, typed: commands === COMMANDS.length ? TYPED.length : 0 }
    this.#sockets.add(socket)
    socket.on('error', () => undefined)
    let said = 0
    socket.on('data', () => {
      if (commands !== undefined && said < commands) socket.write(`${COMMANDS[said++]}\r\n`)
    })
    const turn = this.#typing[number % TURNS] as Client[]
    if (commands !== undefined) turn.push(client)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const at = turn.indexOf(client)
      if (at >= 0) turn.splice(at, 1)
      this.#world.after(BACK_MS * this.#world.scenario.k, () => this.#connect(number, commands))
    })
  }

  #type(): void {
    for (const client of this.#typing[this.#turn++ % TURNS] as Client[]) {
      if (client.socket.writable) client.socket.write(TYPED[client.typed++] ?? 'x')
    }
  }
}
