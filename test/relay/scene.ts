/** Scripted servers and relays before them for one test: started by it, and stopped after it with no slot left behind. */
import { afterEach } from '@jest/globals'
import { eventually } from '../support/app.ts'
import { type Script, startUpstream, type Upstream, type UpstreamOptions } from '../support/upstream.ts'
import { type Relays, type RelaysOptions, startRelays } from './relays.ts'

/** All that this test has started. */
export let servers: Upstream[] = []
export let relays: Relays

/** To be called once by each file of tests that uses what is here. */
export function stopAfterEach(): void {
  afterEach(async () => {
    await relays.stop()
    // No test leaves a slot behind, whatever it did.
    await eventually(relays.held, (held) => held === 0)
    await Promise.all(servers.map((server) => server.stop()))
    servers = []
  })
}

export async function upstream(script?: Script, options: UpstreamOptions = {}): Promise<Upstream> {
  const server = await startUpstream({ ...options, ...(script && { script }) })
  servers.push(server)
  return server
}

/** The same for a server that is told all it does by its options. */
export const upstreamWith = (options: UpstreamOptions = {}): Promise<Upstream> => upstream(undefined, options)

/** @param these servers, or how many that behave well */
export async function start(these: number | readonly Upstream[], options: RelaysOptions = {}): Promise<Relays> {
  const all = typeof these === 'number' ? await Promise.all(Array.from({ length: these }, () => upstream())) : these
  relays = await startRelays(all, options)
  return relays
}

/** Both servers answer as told; whichever is asked. */
export const both = async (script: Script, options?: UpstreamOptions): Promise<Upstream[]> => [
  await upstream(script, options),
  await upstream(script, options),
]

/** Commands of a connection from MAIL on, without what greets. */
export const said = (server: Upstream | undefined, at = 0): string[] => server?.mailed()[at]?.lines ?? []

/** How many commands like this the servers have heard. */
export const countAll = (text: RegExp): number =>
  servers.flatMap(({ connections }) => connections.flatMap(({ lines }) => lines)).filter((line) => text.test(line))
    .length

/** Resolves when the server has heard a command like this. */
export const untilSaid = (server: Upstream, text: RegExp): Promise<unknown> =>
  eventually(
    () => server.connections.some(({ lines }) => lines.some((line) => text.test(line))),
    (found) => found,
  )
